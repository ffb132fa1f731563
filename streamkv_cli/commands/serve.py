"""`streamkv serve`: keep a model in memory, for `ask` and `search` and for HTTP."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    JsonOption,
    QuietOption,
    RevisionOption,
    StoreOption,
    VerboseOption,
)
from streamkv_cli.commands.times import duration
from streamkv_cli.console import Console
from streamkv_cli.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from streamkv_cli.commands.reader import Reader
    from streamkv_cli.commands.warm import Warm
    from streamkv_cli.server.guards import Address
    from streamkv_cli.server.place import Claim

EXAMPLE = "Example: streamkv serve --detach --keep-alive 10m"

_LAST_WORK = 10.0
"""Seconds that the work in hand has to end in."""


@guarded
def serve(
    store: StoreOption,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model, where the store has videos of several, or where it has moved.",
            rich_help_panel="Model",
            show_default="as ingested",
        ),
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    keep_alive: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="End after so long without a request: 30s, 5m, 2h; 0 after the first request, "
            "-1 never.",
        ),
    ] = "5m",
    http: Annotated[
        str | None,
        typer.Option(
            metavar="IP:PORT",
            help="Serve HTTP there as well; an address that others reach needs a token.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="What requests over TCP have to carry; better STREAMKV_TOKEN."),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach/--no-detach", help="Run in the background; return once it is ready."
        ),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Keep model and block keys in memory, so that questions need not load them.

    ask, search and chat use the server of their store and model by themselves. It opens the store
    for reading only, and sees what an ingest adds meanwhile.
    """
    console = Console(json_lines=json, quiet=quiet, verbose=verbose)
    seconds = duration(keep_alive, "--keep-alive")
    from streamkv_cli.server.guards import address

    where = address(http, token) if http else None
    if detach:
        from streamkv_cli.commands.detaching import start

        words = ["--store", str(store), "--device", device, "--keep-alive", keep_alive]
        words += [*_given("--model", model), *_given("--revision", revision)]
        start(console, Path(os.path.realpath(store)), words + _given("--http", http), token)
        return
    _serve(console, Path(os.path.realpath(store)), model, revision, device, seconds, where, token)


def _serve(
    console: Console,
    store: Path,
    model: str | None,
    revision: str | None,
    device: str,
    keep_alive: float,
    where: "Address | None",
    token: str | None,
) -> None:
    import logging

    from streamkv_cli.commands.handling import Handler
    from streamkv_cli.commands.warm import Warm
    from streamkv_cli.server.http import Desk
    from streamkv_cli.server.run import Idle, Server, listen

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.ERROR)
    warm = Warm(store)
    reader, claim = _begin(console, warm, model, revision, device)
    try:
        sockets = listen(claim.place, where)
        facts = _facts(reader, claim, store, where)
        server = Server(
            Desk(Handler(warm), warm.turns), lambda: _now(facts), Idle(keep_alive), where, token
        )
        claim.note(facts)
        console.record("serving", **facts)
        console.message(f"serving {facts['model']} for {store} at {claim.place.socket}")
        if where is not None:
            console.message(f"and at http://{where}")
        server.run(sockets)
    finally:
        claim.release()
        if not warm.close(_LAST_WORK):
            os._exit(EXIT_INTERRUPTED)  # a thread that computes on would keep the process
    if server.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    console.message("the server has ended")


def _begin(
    console: Console, warm: "Warm", model: str | None, revision: str | None, device: str
) -> "tuple[Reader, Claim]":
    """Find the model, take the place of its server, load it."""
    from streamkv_cli.commands.reader import Reader
    from streamkv_cli.commands.select import select_videos
    from streamkv_cli.server.place import Claim, place_of, sweep
    from streamkv_cli.server.turns import Gone

    def begin() -> "tuple[Reader, Claim]":
        reader = Reader(console, select_videos(warm.store), model, revision, device, warm)
        placement = reader.placement()
        names = str(reader.checkpoint.folder), str(placement.device), placement.dtype_name
        sweep()
        claim = Claim(place_of(warm.path, *names))
        try:
            reader.load()
        except BaseException:
            claim.release()
            raise
        return reader, claim

    return warm.turn(begin, Gone())


def _facts(
    reader: "Reader", claim: "Claim", store: Path, where: "Address | None"
) -> dict[str, Any]:
    from datetime import UTC, datetime

    from streamkv_cli import __version__

    placement = reader.placement()
    return {
        "store": str(store),
        "model": reader.checkpoint.source,
        "revision": reader.checkpoint.revision,
        "pid": os.getpid(),
        "device": str(placement.device),
        "dtype": placement.dtype_name,
        "socket": str(claim.place.socket),
        "http": str(where) if where else None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
    }


def _now(facts: dict[str, Any]) -> dict[str, Any]:
    """What a server says of itself, with the memory it has now, in bytes."""
    import resource
    import sys

    import torch

    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the most it has had, in kibibytes but on macOS
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory = most if sys.platform == "darwin" else most << 10
    gpu = torch.cuda.memory_allocated() if facts["device"].startswith("cuda") else 0
    return {**facts, "memory": memory, "gpu_memory": gpu}


def _given(flag: str, value: str | None) -> list[str]:
    return [] if value is None else [flag, value]
