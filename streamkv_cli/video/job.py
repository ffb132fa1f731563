"""What the parent asks of a decoder's child process, and why a child gives up."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Job:
    """One decoder's work on one source.

    Attributes:
        address: what libav opens: an absolute path, a URL, or "pipe:0".
        decoder: "decord" or "pyav".
        live: the source cannot be sought in: a stream, standard input, a named pipe.
        fps: samples a second.
        start: seconds; samples before it are left out.
        first: samples with a lower index are left out.
        ahead: pictures decoded ahead of the consumer, at most.
        max_side: pixels; longer sides are shrunk to it.
        skip_damaged: leave damaged pictures out instead of giving up.
    """

    address: str
    decoder: str
    live: bool
    fps: float
    start: float
    first: int
    ahead: int
    max_side: int | None
    skip_damaged: bool

    def dumps(self) -> str:
        """This job as one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def loads(line: str) -> Job:
        """The inverse of `dumps`."""
        return Job(**json.loads(line))


class GiveUp(Exception):  # noqa: N818 - it is a verdict, carried to the parent as a message
    """A decoder cannot or should not go on.

    Args:
        what: reads on after the video's name: "is damaged at 2.4 s".
        kind: "damaged" (skipping may help), "unreadable", "piped" (it has to be a
            file), or "doubt" (another decoder may do it).
    """

    def __init__(self, what: str, kind: str = "unreadable") -> None:
        super().__init__(what)
        self.what = what
        self.kind = kind
