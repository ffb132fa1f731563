"""Where a value comes from: flag, then STREAMKV_* environment, then the config file.

Flags and environment are Typer's; this file reads the third. Top-level keys of the file hold for
every command, a table named after a command for that one:

    store = "/data/streamkv"
    [ingest]
    fps = 1.0
"""

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from platformdirs import user_config_path, user_data_path

from streamkv_cli.errors import UsageError


def config_file() -> Path:
    """The config file: STREAMKV_CONFIG, or config.toml where this system keeps such files."""
    given = os.environ.get("STREAMKV_CONFIG")
    return Path(given) if given else user_config_path("streamkv") / "config.toml"


def default_store() -> Path:
    """The store used when nothing names one."""
    return user_data_path("streamkv") / "store"


def defaults(known: Callable[[], Mapping[str, Sequence[str]]]) -> dict[str, dict[str, Any]]:
    """Values of the config file, per command, named like the flags (kv-dtype or kv_dtype).

    Args:
        known: gives the options of each command; not called where there is nothing to compare.

    Raises:
        UsageError: the file is not valid TOML, or sets what does not exist.
    """
    path = config_file()
    content = read_config(path)
    if not content:
        return {}
    commands = known()
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    every = sorted({option for options in commands.values() for option in options})
    for table in tables:
        if table not in commands:
            raise _unknown(
                path, f"a table [{table}], but there is no such command", table, commands
            )
    for key in shared:
        if _option(key) not in every:
            raise _unknown(path, f"a key {key}, but there is no such setting", key, every)
    for table, values in tables.items():
        for key in values:
            if _option(key) not in commands[table]:
                what = f"a key {key} in [{table}], but {table} has no such setting"
                raise _unknown(path, what, key, commands[table])
    return {
        name: {
            _option(key): value
            for key, value in {**shared, **tables.get(name, {})}.items()
            if _option(key) in options
        }
        for name, options in commands.items()
    }


def read_config(path: Path) -> dict[str, Any]:
    """Content of the config file; empty where there is none.

    Raises:
        UsageError: it cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "correct it, or remove it") from None


def _option(key: str) -> str:
    return key.replace("-", "_")


def _unknown(path: Path, what: str, key: str, known: Iterable[str]) -> UsageError:
    names = sorted(known)
    near = get_close_matches(_option(key), names, 1, 0.5)
    remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    return UsageError(f"{path} has {what}", remedy)
