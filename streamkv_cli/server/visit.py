"""One request while it is worked on: what it was told, what it asks, and whether it is there."""

import asyncio
import io
import threading
import time

from starlette.types import Receive

from streamkv_cli.server.turns import Gone
from streamkv_cli.server.wire import Event

_HELD = 4 << 20
"""Bytes of questions held of a client that sends faster than it is answered."""

_UNREAD = 1000
"""Events held for a client that does not read; its next question waits."""


class DeclinedError(Exception):
    """This server is not the one for the request; whoever asks does it in another way."""


class Visit:
    """The side of a request that its worker, in a thread of its own, sees.

    Args:
        loop: where the other side lives.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.gone = Gone()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.stdin = Stdin()
        self.why_gone = ""
        self._kept_back: list[Event] | None = []
        self._loop = loop

    def emit(self, event: Event) -> None:
        """Tell the client something, or keep it back until it is accepted; never waits."""
        if self._kept_back is not None:
            self._kept_back.append(event)
        else:
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    def accept(self) -> None:
        """From now on the request is this server's, and what happens to it is its outcome."""
        kept_back, self._kept_back = self._kept_back, None
        for event in kept_back or ():
            self.emit(event)

    def decline(self, why: str) -> None:
        """Leave the request to others, and tell nothing else; only before it is accepted."""
        self._kept_back = [("declined", {"why": why})]
        self.accept()

    def wait_for_reader(self) -> None:
        """Before more is told: let a client that does not read keep nobody but itself waiting.

        Raises:
            GoneError: the client has gone.
        """
        while self.events.qsize() > _UNREAD:
            self.gone.check()
            time.sleep(0.1)

    def leave(self, why: str = "") -> None:
        """The client has gone, or has to go.

        Args:
            why: what it is told, if it is still there.
        """
        self.why_gone = self.why_gone or why
        self.gone.set()
        self.stdin.end()

    async def listen(self, receive: Receive, more: bool) -> None:
        """Take what the client sends, until it goes.

        Args:
            more: its body has not ended.
        """
        while True:
            while self.stdin.held > _HELD:
                await asyncio.sleep(0.05)
            message = await receive()
            if message["type"] == "http.disconnect":
                self.leave()
                return
            if more:
                self.stdin.feed(message.get("body", b""))
                more = message.get("more_body", False)
                if not more:
                    self.stdin.end()


class Stdin(io.RawIOBase):
    """The client's standard input, read in one thread and fed in another."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._ended = False
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Bytes that wait to be read."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """More of it has come."""
        with self._changed:
            self._data += data
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Wait for data, or for the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._data or self._ended)
            count = min(len(buffer), len(self._data))
            buffer[:count] = self._data[:count]
            del self._data[:count]
            return count
