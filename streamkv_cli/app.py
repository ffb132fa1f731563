"""The Typer app: registers commands and imports nothing heavy, so that `--help` is immediate."""

import io
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from streamkv_cli import __version__, settings
from streamkv_cli.commands import ask, check, ingest, ls, migrate, prune, repair, rm, show
from streamkv_cli.commands.guard import exit_on_sigterm, guarded

app = typer.Typer(
    name="streamkv",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ingest a long video through a Video-LLM once; ask it any time later.",
    epilog="Example: streamkv ingest talk.mp4 --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
)
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "ingest": (ingest.ingest, ingest.EXAMPLE),
    "ask": (ask.ask, ask.EXAMPLE),
    "ls": (ls.ls, ls.EXAMPLE),
    "show": (show.show, show.EXAMPLE),
    "rm": (rm.rm, rm.EXAMPLE),
    "check": (check.check, check.EXAMPLE),
    "prune": (prune.prune, prune.EXAMPLE),
    "repair": (repair.repair, repair.EXAMPLE),
    "migrate": (migrate.migrate, migrate.EXAMPLE),
}
for _name, (_command, _example) in COMMANDS.items():
    app.command(_name, epilog=_example)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamkv {__version__}")
        raise typer.Exit


@app.callback()
@guarded
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Ingest a long video through a Video-LLM once; ask it any time later."""
    context.default_map = settings.defaults(COMMANDS)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is no valid text must not stop the program; \\udcff is valid JSON, too.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    exit_on_sigterm()
    app()
