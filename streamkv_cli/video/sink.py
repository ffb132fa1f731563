"""The child's side of the channel to the parent: messages out, credits in, pictures in the ring."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamkv_cli.video.ring import Ring, slot_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEARTBEAT = 1.0
"""Seconds between two signs of life while no picture is due."""


@dataclass(frozen=True)
class Channel:
    """Descriptors that a child inherits.

    Attributes:
        messages: the child writes JSON lines here.
        credits: the parent writes one byte here for each slot it has emptied.
        memory: the ring's memory file.
        lifeline: closed when the parent ends.
    """

    messages: int
    credits: int
    memory: int
    lifeline: int


class Sink:
    """Where a decoder puts what it finds.

    Args:
        channel: the inherited descriptors.
        ahead: pictures that may wait unread.
    """

    def __init__(self, channel: Channel, ahead: int) -> None:
        self._channel = channel
        self._ahead = ahead
        self._ring: Ring | None = None
        self._sent = 0
        self._waited = 0.0
        self._began = time.monotonic()
        self._spoke = self._began
        self.size = (0, 0)

    def opened(self, *, duration: float | None, width: int, height: int, codec: str) -> None:
        """Announce the video; pictures may follow."""
        slots = slot_count(self._ahead, width, height)
        self._ring = Ring(self._channel.memory, slots, width, height, create=True)
        self.size = (width, height)
        self._send(
            "opened", duration=duration, width=width, height=height, codec=codec, slots=slots
        )

    def picture(self, index: int, at: float, pixels: NDArray[np.uint8]) -> None:
        """Hand over sample `index`, shown at `at` seconds; wait while no slot is free."""
        if self._ring is None:
            raise RuntimeError("a picture came before the video was opened")
        if self._sent >= self._ring.slots:
            self._take_credit()
        self._ring.slot(self._sent)[...] = pixels
        self._sent += 1
        self._send("picture", index=index, time=at, worked=self.worked)

    def warn(self, what: str) -> None:
        """Tell the user something once; `what` reads on after the video's name."""
        self._send("warning", what=what)

    def alive(self) -> None:
        """Say that work goes on, at most once a second."""
        if time.monotonic() - self._spoke > HEARTBEAT:
            self._send("alive")

    def done(self) -> None:
        """Say that the video ended as it should."""
        self._send("done", worked=self.worked)

    def failed(self, what: str, kind: str) -> None:
        """Say that this decoder gives up; see `GiveUp`."""
        self._send("failed", what=what, kind=kind)

    @property
    def worked(self) -> float:
        """Seconds since the start, less those spent waiting for the consumer."""
        return time.monotonic() - self._began - self._waited

    @property
    def complaints(self) -> int:
        """Bytes that native code has written to standard error, a file here, so far."""
        return os.fstat(2).st_size

    def _take_credit(self) -> None:
        began = time.monotonic()
        if not os.read(self._channel.credits, 1):
            os._exit(0)  # the consumer has gone
        self._waited += time.monotonic() - began

    def _send(self, message: str, /, **fields: Any) -> None:
        line = memoryview((json.dumps({"type": message, **fields}) + "\n").encode())
        while line:
            line = line[os.write(self._channel.messages, line) :]
        self._spoke = time.monotonic()
