"""The Typer app. Each command is imported and built when it is first looked at.

A command's module has its name, a function of that name, and an EXAMPLE for its help.
"""

import importlib
import io
import os
import sys
from collections.abc import Iterator, MutableMapping
from typing import Annotated, Any

import typer

from streamkv_cli import __version__
from streamkv_cli.commands.guard import exit_on_sigterm, guarded
from streamkv_cli.errors import EXIT_INTERRUPTED
from streamkv_cli.parsing import Command, Group

COMMANDS = (
    "ingest",
    "ask",
    "search",
    "chat",
    "serve",
    "ps",
    "stop",
    "models",
    "ls",
    "show",
    "stats",
    "tag",
    "rm",
    "check",
    "prune",
    "repair",
    "config",
    "doctor",
    "bench",
    "migrate",
)


def example(name: str) -> str:
    """The example at the end of a command's help."""
    text: str = _module(name).EXAMPLE
    return text


def _module(name: str) -> Any:
    return importlib.import_module(f"streamkv_cli.commands.{name}")


class _Commands(MutableMapping[str, Any]):
    """The commands, built one by one: `ls` waits for no other command's options."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        if self._built[name] is None:
            self._built[name] = _build(name)
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._built)

    def __len__(self) -> int:
        return len(self._built)

    def __contains__(self, name: object) -> bool:
        return name in self._built


def _build(name: str) -> Any:
    one = typer.Typer(
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={
            "help_option_names": ["-h", "--help"],
            # It is given another command's flags.
            "ignore_unknown_options": name == "config",
        },
    )
    one.command(name, cls=Command, epilog=example(name))(getattr(_module(name), name))
    return typer.main.get_command(one)


class _Streamkv(Group):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()


app = typer.Typer(
    name="streamkv",
    cls=_Streamkv,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ingest a long video through a Video-LLM once; ask it any time later.",
    epilog='Example: streamkv ingest talk.mp4 --model demo && streamkv ask "what is shown?"',
)


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
