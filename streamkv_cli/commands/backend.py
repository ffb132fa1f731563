"""Who works on a request: a server that is there for it, or this process."""

import io
from pathlib import Path
from typing import BinaryIO

import typer

from streamkv_cli.commands.remote import through_server
from streamkv_cli.commands.requests import AskRequest, SearchRequest
from streamkv_cli.console import Console


def ask_somewhere(
    request: AskRequest, console: Console, stdin: BinaryIO, *, no_server: bool
) -> None:
    """Have a request answered; a server that is there for it is faster, and tells the same."""
    if not no_server:
        _finish(through_server("ask", request, console, stdin))
    from store import Store
    from streamkv_cli.commands.answering import run_ask
    from streamkv_cli.commands.desk import OwnDesk

    with Store.open(Path(request.store)) as opened:
        run_ask(request, console, OwnDesk(opened), stdin)


def search_somewhere(request: SearchRequest, console: Console, *, no_server: bool) -> None:
    """Have a request searched for, as `ask_somewhere`."""
    if not no_server:
        _finish(through_server("search", request, console, io.BytesIO()))
    from store import Store
    from streamkv_cli.commands.answering import run_search
    from streamkv_cli.commands.desk import OwnDesk

    with Store.open(Path(request.store)) as opened:
        run_search(request, console, OwnDesk(opened))


def _finish(code: int | None) -> None:
    if code is not None:
        raise typer.Exit(code)
