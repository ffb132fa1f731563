"""`streamkv stop`: end servers."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption, StoreOption
from streamkv_cli.console import Console
from streamkv_cli.errors import EXIT_INPUT_FAILED, NothingFoundError

EXAMPLE = "Example: streamkv stop"

_PATIENCE = 30.0


@guarded
def stop(
    store: StoreOption,
    all_: Annotated[bool, typer.Option("--all", help="The servers of all stores.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """End the servers of a store; answers they are giving are broken off."""
    console = Console(json_lines=json, quiet=quiet)
    from streamkv_cli.server.place import places

    found = [p for p in places(None if all_ else Path(os.path.realpath(store))) if p.alive]
    if not found:
        of = "" if all_ else f" of the store {store}"
        raise NothingFoundError(f"no server{of} runs", "streamkv ps shows those that do")
    from streamkv_cli.server.client import NoAnswerError, call

    failed = False
    for place in found:
        pid = place.facts().get("pid")
        try:
            call(place, "POST", "/stop")
            give_up = time.monotonic() + _PATIENCE
            while place.alive and time.monotonic() < give_up:
                time.sleep(0.02)
        except NoAnswerError:
            pass
        if place.alive:
            failed = True
            console.error(f"process {pid} does not answer; end it with: kill -9 {pid}")
        else:
            console.record("stopped", pid=pid)
            console.message(f"stopped process {pid}")
    if failed:
        raise typer.Exit(EXIT_INPUT_FAILED)
