"""The endpoints: POST /ask, POST /search, GET /health, POST /stop."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamkv_cli.errors import (
    EXIT_DISK,
    EXIT_INPUT_FAILED,
    EXIT_NOTHING_FOUND,
    EXIT_STORE_REFUSED,
    EXIT_USAGE,
)
from streamkv_cli.server.turns import GoneError, Turns
from streamkv_cli.server.visit import DeclinedError, Visit
from streamkv_cli.server.wire import Event, event_bytes

LONGEST_REQUEST = 1 << 20
"""Bytes of a request, its questions on standard input not counted."""

_PATIENCE = 30.0
"""Seconds a client has to send its request, once it has begun."""

_MOST_VISITS = 256
"""Requests at a time, nearly all of them waiting."""

_STATUS = {
    EXIT_NOTHING_FOUND: 404,
    EXIT_USAGE: 400,
    EXIT_INPUT_FAILED: 422,
    EXIT_STORE_REFUSED: 409,
    EXIT_DISK: 500,
}

log = logging.getLogger("streamkv.server")

Handler = Callable[[str, dict[str, Any], Visit], int]
"""(what is asked for, the request's fields, the visit) -> exit code; in a thread of its own."""


class RefusedError(Exception):
    """A request that is none.

    Args:
        status: of HTTP.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Desk:
    """All requests of a server.

    Args:
        handler: does what is asked for.
        turns: the queue for the model.
    """

    def __init__(self, handler: Handler, turns: Turns) -> None:
        self.turns = turns
        self.done = 0
        self.visits: set[Visit] = set()
        self._handler = handler
        self._closed = ""

    def close(self, why: str) -> None:
        """Send everybody away, and take in nobody else."""
        self._closed = why
        for visit in list(self.visits):
            visit.leave(why)

    def enter(self, what: str, fields: dict[str, Any]) -> Visit:
        """Begin to work on a request.

        Raises:
            RefusedError: there are too many, or the server is about to end.
        """
        if self._closed or len(self.visits) >= _MOST_VISITS:
            raise RefusedError(503, self._closed or "too many requests at a time; try again")
        visit = Visit(asyncio.get_running_loop())
        self.visits.add(visit)
        threading.Thread(target=self._work, args=(what, fields, visit), daemon=True).start()
        return visit

    def leave(self, visit: Visit) -> None:
        """The request has been answered, or its client has gone."""
        visit.leave()
        if visit in self.visits:
            self.visits.discard(visit)
            self.done += 1

    def _work(self, what: str, fields: dict[str, Any], visit: Visit) -> None:
        try:
            visit.emit(("done", {"exit": self._handler(what, fields, visit)}))
        except DeclinedError as declined:
            visit.decline(str(declined))
        except GoneError:
            why = visit.why_gone or "the question was given up"
            visit.emit(("error", {"text": why}))
            visit.emit(("done", {"exit": EXIT_DISK}))
        except Exception as error:
            log.exception("a request failed: %s", what)
            visit.emit(("error", {"text": f"the server failed ({error!r}); its log says more"}))
            visit.emit(("done", {"exit": 1}))
        visit.accept()


class Endpoint:
    """What one path does: takes a request in, and tells what comes of it as it comes.

    Args:
        what: the name of it.
        desk: where it is done.
    """

    def __init__(self, what: str, desk: Desk) -> None:
        self._what = what
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        headers = Headers(scope=scope)
        try:
            fields, rest, more = await _read(headers, receive)
            visit = self._desk.enter(self._what, fields)
        except RefusedError as refused:
            await _error(str(refused), refused.status)(scope, receive, send)
            return
        visit.stdin.feed(rest)
        if not more:
            visit.stdin.end()
        listener = asyncio.create_task(visit.listen(receive, more))
        try:
            first = await visit.events.get()
            if first[0] == "declined":
                await _error(first[1]["why"], 421)(scope, receive, send)
            elif "text/event-stream" in headers.get("accept", ""):
                await _stream(first, visit, send)
            else:
                await (await _collected(first, visit))(scope, receive, send)
        finally:
            listener.cancel()
            self._desk.leave(visit)


def application(
    desk: Desk, health: Callable[[], Mapping[str, Any]], stop: Callable[[], None]
) -> Starlette:
    """All endpoints.

    Args:
        desk: of the requests.
        health: what the server says of itself.
        stop: ends it.
    """

    async def tell_health(_: Request) -> Response:
        return JSONResponse({"type": "server", **health()})

    async def take_stop(_: Request) -> Response:
        stop()
        return JSONResponse({"type": "stopped", **health()})

    async def no_such(_: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        return _error("there are POST /ask, POST /search, GET /health and POST /stop", status)

    return Starlette(
        routes=[
            Route("/ask", Endpoint("ask", desk), methods=["POST"]),
            Route("/search", Endpoint("search", desk), methods=["POST"]),
            Route("/health", tell_health),
            Route("/stop", take_stop, methods=["POST"]),
        ],
        exception_handlers={404: no_such, 405: no_such},
    )


async def _read(headers: Headers, receive: Receive) -> tuple[dict[str, Any], bytes, bool]:
    """A request's fields, what has come behind them, and whether more will.

    As JSON Lines, the first line is the request and the rest its standard input, which may take as
    long as it likes.
    """
    lines = headers.get("content-type", "").startswith("application/x-ndjson")
    held, more = bytearray(), True
    try:
        async with asyncio.timeout(_PATIENCE):
            while more and not (lines and b"\n" in held):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "the request broke off")
                held += message.get("body", b"")
                more = message.get("more_body", False)
                if len(held) > LONGEST_REQUEST and not (lines and b"\n" in held):
                    raise RefusedError(413, f"a request has at most {LONGEST_REQUEST:,} bytes")
    except TimeoutError:
        raise RefusedError(408, f"the request took more than {_PATIENCE:.0f} s") from None
    head, _, rest = bytes(held).partition(b"\n") if lines else (bytes(held), b"", b"")
    try:
        fields = json.loads(head)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is no JSON") from None
    if not isinstance(fields, dict):
        raise RefusedError(400, "the body is no JSON object")
    return fields, rest, more


async def _stream(first: Event, visit: Visit, send: Send) -> None:
    """Every event as it comes."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    event = first
    while True:
        more = event[0] != "done"
        body = event_bytes(event)
        await send({"type": "http.response.body", "body": body, "more_body": more})
        if not more:
            return
        event = await visit.events.get()


async def _collected(first: Event, visit: Visit) -> Response:
    """What `--json` would have printed, all at once; an error where there was one."""
    records, errors = [], []
    event = first
    while event[0] != "done":
        if event[0] == "record":
            records.append(event[1])
        elif event[0] == "error":
            errors.append(event[1]["text"])
        event = await visit.events.get()
    code = event[1]["exit"]
    if code and not records:
        return _error("; ".join(errors), _STATUS.get(code, 500), code)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    kind = "application/json" if len(records) == 1 else "application/x-ndjson"
    return Response(lines, media_type=kind)


def _error(why: str, status: int, code: int | None = None) -> Response:
    body: dict[str, Any] = {"type": "error", "error": why}
    return JSONResponse(body if code is None else body | {"exit": code}, status)
