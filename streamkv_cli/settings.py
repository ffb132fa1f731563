"""Where a value comes from: flag, then STREAMKV_* environment, then the config file.

Flags and environment are Typer's; this file reads the third. Top-level keys of the file hold for
every command, a table named after a command for that one:

    store = "/data/streamkv"
    [ingest]
    fps = 1.0
"""

import os
import tomllib
from collections.abc import Iterable
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


def defaults(commands: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Values of the config file, per command, named like the flags (kv-dtype or kv_dtype).

    Raises:
        UsageError: the file is not valid TOML.
    """
    path = config_file()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "correct it, or remove it") from None
    names = list(commands)
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    unknown = sorted(k for k, v in content.items() if isinstance(v, dict) and k not in names)
    if unknown:
        raise UsageError(
            f"{path} has a table [{unknown[0]}], but there is no such command",
            f"commands: {', '.join(names)}",
        )
    return {
        name: {
            key.replace("-", "_"): value
            for key, value in {**shared, **content.get(name, {})}.items()
        }
        for name in names
    }
