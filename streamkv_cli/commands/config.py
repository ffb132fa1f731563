"""`streamkv config`: every setting that holds, and where it comes from."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamkv_cli import settings
from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption
from streamkv_cli.console import Console
from streamkv_cli.errors import UsageError
from streamkv_cli.parsing import EACH_TIME, known_options, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = "Example: streamkv config ingest --fps 1"

_SOURCES = {
    "COMMANDLINE": "flag",
    "ENVIRONMENT": "environment",
    "DEFAULT_MAP": "file",
    "DEFAULT": "default",
}


@guarded
def config(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND [OPTIONS]...]",
            help="A command as it would be called; all commands without one.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what holds and whence: a flag, the environment, the config file, or the default.

    The environment variable of --max-frames is STREAMKV_MAX_FRAMES. The config file is TOML: keys
    named like the flags, for all commands at the top, for one in a table named after it.
    """
    console = Console(json_lines=json, quiet=quiet)
    root: Any = context.parent
    commands: dict[str, Any] = root.command.commands
    name, *flags = words or [""]
    if name and name not in commands:
        raise UsageError(f"no such command {name}", f"commands: {', '.join(commands)}")
    path = settings.config_file()
    # A broken file is an error here as well, but one that comes with its name.
    settings.defaults(lambda: known_options(commands))
    console.record("config", path=str(path), exists=path.exists())
    rows: dict[tuple[str, str, str], list[str]] = {}
    for each in [name] if name else commands:
        for option, value, source, where in _settings(root, each, flags):
            console.record(
                "setting", command=each, option=option, value=value, source=source, where=where
            )
            key = (option, _shown(value), where or source)
            rows.setdefault(key, []).append(each)
    table = [(option, value, where, ", ".join(of)) for (option, value, where), of in rows.items()]
    console.table(("setting", "value", "from", "commands"), sorted(table))
    if not json:
        console.message(f"config file: {path}{'' if path.exists() else ' (there is none)'}")


def _settings(root: Any, name: str, flags: list[str]) -> "Iterator[tuple[str, Any, str, str]]":
    """Option, value, kind of source, and the source itself of every setting of a command.

    The command's own parser finds them, so this is what a run would use.
    """
    command = root.command.commands[name]
    parsed = command.make_context(name, [*flags], parent=root, resilient_parsing=True)
    file = settings.config_file()
    in_table = {key.replace("-", "_") for key in settings.read_config(file).get(name, {})}
    for option, param in options_of(command).items():
        if option in EACH_TIME:
            continue
        found = parsed.get_parameter_source(option)
        source = _SOURCES.get(found.name, "default") if found is not None else "default"
        where = {
            "flag": param.opts[0],
            "environment": str(param.envvar),
            "file": f"{file} [{name}]" if option in in_table else str(file),
        }.get(source, "")
        value = parsed.params.get(option)
        if value is None and source == "environment":
            value = f"{os.environ[where]} (cannot be used)"
        yield option, value if _plain(value) else str(value), source, where


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
