"""Who works on a request: a server that is there for it, or this process."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from streamkv_cli.commands.remote import served, through_server
from streamkv_cli.commands.requests import AskRequest, SearchRequest
from streamkv_cli.console import Console

if TYPE_CHECKING:
    from streamkv_cli.commands.desk import OwnDesk


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


class Answerer:
    """Answers question after question: a server's work where one is there for it, else ours.

    What this process opens and loads for it stays until the end.

    Args:
        store: folder of the store.
        no_server: never ask one.

    Raises:
        StoreError: there is no server, and the store cannot be opened.
    """

    def __init__(self, store: str, *, no_server: bool) -> None:
        self._store = store
        self._no_server = no_server
        self._desk: OwnDesk | None = None
        if no_server or not served(store):
            self._own_desk()

    def __enter__(self) -> "Answerer":
        """The object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self._close()

    def ask(self, request: AskRequest, console: Console) -> int:
        """Have a question answered; the exit code of `ask` for it, where a server did it.

        Raises:
            StreamKVError: or the store's, where this process did it.
        """
        if self._desk is None and not self._no_server:
            code = through_server("ask", request, console, io.BytesIO())
            if code is not None:
                return code
        from streamkv_cli.commands.answering import run_ask

        run_ask(request, console, self._own_desk(), io.BytesIO())
        return 0

    def _own_desk(self) -> "OwnDesk":
        from store import Store
        from streamkv_cli.commands.desk import OwnDesk

        if self._desk is None:
            self._desk = OwnDesk(Store.open(Path(self._store)))
        elif not self._desk.store.current:
            self._desk.store.close()
            self._desk.put(Store.open(Path(self._store)))
        return self._desk

    def _close(self) -> None:
        if self._desk is not None:
            self._desk.store.close()
            self._desk = None


def _finish(code: int | None) -> None:
    if code is not None:
        raise typer.Exit(code)
