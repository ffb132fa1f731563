"""Have a server that runs for this store and model do the work, if there is one."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from streamkv_cli import __version__
from streamkv_cli.commands.requests import Request
from streamkv_cli.console import Console
from streamkv_cli.server.place import places

_SURROUNDINGS = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "STREAMKV_DEBUG",
    "TZ",
)
"""Environment variables that what comes of a request depends on, besides its fields."""


def surroundings() -> dict[str, str]:
    """What a server has to have in common with its clients."""
    return {name: os.environ.get(name, "") for name in _SURROUNDINGS} | {"version": __version__}


def first_other(theirs: Mapping[str, Any]) -> str | None:
    """What differs between a client's surroundings and ours; None if nothing does."""
    ours = surroundings()
    return next((name for name in ours if theirs.get(name) != ours[name]), None)


def served(store: str) -> bool:
    """Whether a server of this store runs."""
    return any(place.alive for place in places(Path(os.path.realpath(store))))


def through_server(what: str, request: Request, console: Console, stdin: BinaryIO) -> int | None:
    """Exit code of what a server did; None where none does it, and nothing has been told yet.

    Raises:
        ServerLostError: it went away in the middle.
    """
    for place in places(Path(os.path.realpath(request.store))):
        if not place.socket.exists():
            continue
        from streamkv_cli.server.client import NoAnswerError, events
        from streamkv_cli.server.wire import replay

        code = None
        try:
            for event in events(place, f"/{what}", _fields(request, console), stdin):
                replay(event, console)
                if event[0] == "done":
                    code = int(event[1]["exit"])
            return code
        except NoAnswerError as why:
            console.detail(f"not through the server at {place.socket}: {why}")
    return None


def _fields(request: Request, console: Console) -> dict[str, Any]:
    fields = asdict(request)
    model = fields["model"]
    if model is not None and (folder := Path(model).expanduser()).is_dir():
        fields["model"] = str(folder.resolve())
    return fields | {"client": surroundings() | {"json": console.json_lines}}
