"""What a server does with a request: the same as the command, told to whoever asked."""

import io
import os
from pathlib import Path
from typing import Any

import typer

from streamkv_cli.commands.answering import run_ask, run_search
from streamkv_cli.commands.guard import foreseen
from streamkv_cli.commands.remote import first_other
from streamkv_cli.commands.requests import AskRequest, Request, SearchRequest
from streamkv_cli.commands.warm import VisitDesk, Warm
from streamkv_cli.server.turns import GoneError
from streamkv_cli.server.visit import DeclinedError, Visit
from streamkv_cli.server.wire import RemoteConsole

_KINDS: dict[str, type[Request]] = {"ask": AskRequest, "search": SearchRequest}


class Handler:
    """Does requests with what a server keeps.

    Args:
        warm: what is kept.
    """

    def __init__(self, warm: Warm) -> None:
        self._warm = warm

    def __call__(self, what: str, fields: dict[str, Any], visit: Visit) -> int:
        """Do a request; returns the command's exit code.

        Raises:
            DeclinedError: it is for another server, or for none.
            GoneError: whoever asked has gone.
        """
        client = fields.pop("client", None)
        if isinstance(client, dict) and (other := first_other(client)):
            raise DeclinedError(f"it runs with another {other}")
        store = str(self._warm.path)
        if client is None and os.path.realpath(str(fields.get("store", store))) != store:
            raise DeclinedError(f"it serves the store {store}")
        named = str(fields.setdefault("store", store))
        wants_json = isinstance(client, dict) and client.get("json") is True
        console = RemoteConsole(visit.emit, {store: named}, json_lines=wants_json)
        try:
            self._do(_KINDS[what].of(fields), console, visit)
        except (DeclinedError, GoneError):
            raise
        except typer.Exit as ended:
            return ended.exit_code
        except Exception as error:
            found = foreseen(error)
            if found is None:
                raise
            console.error(found[0])
            return found[1]
        return 0

    def _do(self, request: Request, console: RemoteConsole, visit: Visit) -> None:
        _refuse_ours(request.model)
        request.check()
        desk = VisitDesk(self._warm, visit)
        if isinstance(request, AskRequest):
            run_ask(request, console, desk, io.BufferedReader(visit.stdin))
        elif isinstance(request, SearchRequest):
            run_search(request, console, desk)


def _refuse_ours(model: str | None) -> None:
    """A folder's name means one of the client's, which it has made absolute."""
    if model is None or Path(model).is_absolute():
        return
    if model != "demo" and Path(model).is_dir():
        raise DeclinedError(f"{model} is a folder where the server runs")
