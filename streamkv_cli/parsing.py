"""How a command line is parsed: settings behind the flags, and errors of one line.

Typer reads flags and environment; these two classes add what it has no setting for: every option
has an environment variable, the config file stands behind both, a broken config file does not
keep `--help` from working, and a usage error is one line like every other.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from streamkv_cli import settings
from streamkv_cli.console import Console
from streamkv_cli.errors import EXIT_USAGE, StreamKVError, UsageError

PREFIX = "STREAMKV_"
EACH_TIME = {
    "video",
    "tag",
    "since",
    "until",
    "at",
    "from_",
    "to",
    "each",
    "html",
    "null",
    "as_stored",
} | {"dry_run", "quick", "read_data", "help", "version"}
"""Options with which one run differs from the next; the environment does not set them."""

TELLS_OF_SETTINGS = {"config", "doctor"}
"""Commands that tell what is wrong with the config file, so they run with a broken one."""


class Command(TyperCommand):
    """A command whose options have environment variables and defaults from the config file."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        for option in options_of(self).values():
            if option.envvar is None and option.name not in EACH_TIME:
                option.envvar = PREFIX + option.name.upper()
                option.show_envvar = False  # it would drown the help

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context to run in, with what the config file says as defaults."""
        words = takewhile(lambda word: word != "--", args)
        lenient = extra.get("resilient_parsing") or any(w in ("-h", "--help") for w in words)
        commands = parent.command.commands if parent is not None else {}
        try:
            found = settings.defaults(lambda: known_options(commands))
            extra.setdefault("default_map", found.get(self.name or ""))
        except UsageError:
            if not lenient and self.name not in TELLS_OF_SETTINGS:
                raise
        return super().make_context(info_name, args, parent, **extra)


class Group(TyperGroup):
    """All commands; tells errors of usage in one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and end with its exit code."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words or ["--help"], prog_name, complete_var, False, **extra)
            if not standalone_mode:
                return code
        except StreamKVError as error:
            if not standalone_mode:
                raise
            Console().error(str(error))
            code = error.exit_code
        except Exception as error:
            # Typer's own errors; the class they share is none of its public names.
            if not standalone_mode or not hasattr(error, "format_message"):
                raise
            Console().error(_usage_error(error))
            code = EXIT_USAGE
        sys.exit(code or 0)


def options_of(command: Any) -> Mapping[str, TyperOption]:
    """The options of a command by name."""
    return {
        param.name: param
        for param in command.params
        if isinstance(param, TyperOption) and param.name is not None
    }


def known_options(commands: Mapping[str, Any]) -> dict[str, list[str]]:
    """The options of each command by name."""
    return {name: list(options_of(command)) for name, command in commands.items()}


def _usage_error(error: Any) -> str:
    """What was wrong, where a value came from if not from the command line, and where to look."""
    what = " ".join(str(error.format_message()).split()).rstrip(".")
    context, param = getattr(error, "ctx", None), getattr(error, "param", None)
    path = context.command_path if context is not None else "streamkv"
    whence = ""
    if context is not None and param is not None:
        source = context.get_parameter_source(param.name)
        if source is not None and source.name == "DEFAULT_MAP":
            whence = f" (from {settings.config_file()})"
        elif source is not None and source.name == "ENVIRONMENT" and param.envvar:
            whence = f" (from the environment, {param.envvar})"
    return f"{what[:1].lower()}{what[1:]}{whence}; see {path} --help"
