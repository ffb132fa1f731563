"""Run a server until it is stopped, interrupted, or idle for long enough."""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import uvicorn

from streamkv_cli.errors import DiskError
from streamkv_cli.server.guards import Address, Guards
from streamkv_cli.server.http import Desk, application
from streamkv_cli.server.place import Place

FOR_EVER = -1.0

_LAST_WORDS = 5.0
"""Seconds that requests have to end once the server does."""


@dataclass
class Idle:
    """How long a server waits for its next request.

    Attributes:
        keep_alive: seconds; 0 ends it with its first request, FOR_EVER never.
    """

    keep_alive: float
    since: float = field(default_factory=time.monotonic)

    def look(self, desk: Desk) -> bool:
        """Whether it is over."""
        if desk.visits:
            self.since = time.monotonic()
            return False
        if self.keep_alive == 0:
            return desk.done > 0
        return self.keep_alive > 0 and time.monotonic() - self.since >= self.keep_alive

    def until(self, desk: Desk) -> str:
        """When it is over if nothing happens: an ISO 8601 time, or words."""
        if self.keep_alive < 0:
            return "stopped"
        if self.keep_alive == 0:
            return "its first request"
        waited = 0.0 if desk.visits else time.monotonic() - self.since
        left = timedelta(seconds=self.keep_alive - waited)
        return (datetime.now(UTC) + left).isoformat(timespec="seconds")


class Server(uvicorn.Server):
    """Uvicorn's server with an end of its own.

    Args:
        desk: of the requests.
        facts: what the server says of itself.
        idle: how long it waits.
        address, token: of HTTP over TCP, if any.
    """

    def __init__(
        self,
        desk: Desk,
        facts: Callable[[], Mapping[str, Any]],
        idle: Idle,
        address: Address | None,
        token: str | None,
    ) -> None:
        self._desk = desk
        self._idle = idle
        self.interrupted = False

        def health() -> dict[str, Any]:
            waiting = desk.turns.waiting
            return {**facts(), "until": idle.until(desk), "waiting": waiting}

        app = application(desk, health, self.end)
        super().__init__(
            uvicorn.Config(
                Guards(app, address, token),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # or a client could say that it is another one
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=int(_LAST_WORDS),
            )
        )

    def end(self) -> None:
        """End soon."""
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        return await super().on_tick(counter) or self._idle.look(self._desk)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Send everybody away."""
        self._desk.close("the server was stopped; ask again")
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """An interrupt."""
        if self.interrupted and sig == signal.SIGINT:
            self.force_exit = True
        elif not self.interrupted:
            os.write(2, b"\ninterrupted\n")
        self.interrupted = self.should_exit = True


def listen(place: Place, address: Address | None) -> list[socket.socket]:
    """The sockets of a server; the Unix one is its user's alone.

    Raises:
        DiskError: an address is taken or cannot be had.
    """
    found = []
    try:
        unix = socket.socket(socket.AF_UNIX)
        found.append(unix)
        mask = os.umask(0o177)
        try:
            unix.bind(os.fspath(place.socket))
        finally:
            os.umask(mask)
        where: object = address
        if address is not None:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            tcp = socket.socket(family)
            found.append(tcp)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address.host, address.port))
        for each in found:
            each.listen(128)
    except OSError as error:
        for each in found:
            each.close()
        where = address if len(found) > 1 else place.socket
        raise DiskError(f"{where} cannot be served: {error.strerror}", "choose another") from None
    return found
