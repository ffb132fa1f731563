"""The Typer app: registers commands and imports nothing heavy, so that `--help` is immediate."""

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from streamkv_cli import __version__
from streamkv_cli.commands import (
    ask,
    check,
    config,
    doctor,
    ingest,
    ls,
    migrate,
    models,
    prune,
    repair,
    rm,
    search,
    show,
    stats,
    tag,
)
from streamkv_cli.commands.guard import exit_on_sigterm, guarded
from streamkv_cli.errors import EXIT_INTERRUPTED
from streamkv_cli.parsing import Command, Group

app = typer.Typer(
    name="streamkv",
    cls=Group,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ingest a long video through a Video-LLM once; ask it any time later.",
    epilog='Example: streamkv ingest talk.mp4 --model demo && streamkv ask "what is shown?"',
)
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "ingest": (ingest.ingest, ingest.EXAMPLE),
    "ask": (ask.ask, ask.EXAMPLE),
    "search": (search.search, search.EXAMPLE),
    "models": (models.models, models.EXAMPLE),
    "ls": (ls.ls, ls.EXAMPLE),
    "show": (show.show, show.EXAMPLE),
    "stats": (stats.stats, stats.EXAMPLE),
    "tag": (tag.tag, tag.EXAMPLE),
    "rm": (rm.rm, rm.EXAMPLE),
    "check": (check.check, check.EXAMPLE),
    "prune": (prune.prune, prune.EXAMPLE),
    "repair": (repair.repair, repair.EXAMPLE),
    "config": (config.config, config.EXAMPLE),
    "doctor": (doctor.doctor, doctor.EXAMPLE),
    "migrate": (migrate.migrate, migrate.EXAMPLE),
}
for _name, (_command, _example) in COMMANDS.items():
    app.command(
        _name,
        cls=Command,
        epilog=_example,
        # It is given another command's flags.
        context_settings={"ignore_unknown_options": True} if _name == "config" else None,
    )(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamkv {__version__}")
        raise typer.Exit


@app.callback()
@guarded
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Ingest a long video through a Video-LLM once; ask it any time later."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is no valid text must not stop the program; \\udcff is valid JSON, too.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    exit_on_sigterm()
    try:
        app()
    except SystemExit as ended:
        if ended.code == EXIT_INTERRUPTED:
            # Everything is closed by now. Where the interrupt met Python code that a C library
            # ran, the interpreter would end by SIGINT, and not with the code that is documented.
            sys.stdout.flush()
            os._exit(EXIT_INTERRUPTED)
        raise
