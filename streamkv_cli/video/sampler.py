"""Which picture is on screen at each point of the sampling grid.

Grid: t_k = t_0 + k / fps, with t_0 the presentation time of the first picture. Sample k is the last
picture whose presentation time is <= t_k; the last sample lies below the end of the last picture.
"""

import math
from collections.abc import Iterable, Iterator

EPSILON = 1e-6
"""Seconds: a time base rounds presentation times, so t_k may miss its own picture by a hair."""


class Sampler:
    """The grid over a stream of presentation times.

    A picture's samples are known once the next picture's time is: `push` tells the samples of the
    picture pushed before, `finish` those of the last one.

    Args:
        fps: samples a second, > 0.
        start: samples with t_k < start (seconds) are left out.
        first: samples with k < first are left out.
    """

    def __init__(self, fps: float, *, start: float = 0.0, first: int = 0) -> None:
        if not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps must be a positive number, not {fps}")
        self.fps = fps
        self.start = start
        self.first = first
        self.origin: float | None = None
        self.latest: float | None = None
        self._next = 0

    def time(self, index: int) -> float:
        """t_k in seconds; needs a first picture."""
        if self.origin is None:
            raise RuntimeError("no picture was pushed yet")
        return self.origin + index / self.fps

    def anchor(self, origin: float) -> None:
        """Set t_0 and leave out what `start` and `first` leave out; `push` does it by itself."""
        self.origin = origin
        self._next = max(self.first, self._below(self.start), 0)

    @property
    def wanted(self) -> float:
        """Seconds: t_k of the next sample, so pictures replaced before it are of no use."""
        return self.time(self._next)

    def push(self, time: float) -> range:
        """Take the next picture's time; return the samples of the picture before it.

        Raises:
            ValueError: the time lies before that of the picture pushed before.
        """
        if self.origin is None:
            self.anchor(time)
        if self.latest is None:
            self.latest = time
            return range(self._next, self._next)
        if time < self.latest:
            raise ValueError(f"presentation times must not fall: {self.latest} then {time}")
        self.latest = time
        return self._until(time)

    def finish(self, end: float) -> range:
        """Return the samples of the last picture, which leaves the screen at `end` seconds.

        A picture is on screen for more than nothing: the sample at its own time is always taken.
        """
        if self.latest is None:
            return range(0)
        return self._until(max(end, self.latest + 2 * EPSILON))

    def _until(self, end: float) -> range:
        begin, self._next = self._next, max(self._next, self._below(end))
        return range(begin, self._next)

    def _below(self, end: float) -> int:
        """Count of k >= 0 with t_k + EPSILON < end, by the same sum as `time`."""
        k = max(0, math.floor((end - self.time(0)) * self.fps) - 1)
        while self.time(k) + EPSILON < end:
            k += 1
        return k


def sample(
    times: Iterable[float], end: float, fps: float, *, start: float = 0.0, first: int = 0
) -> Iterator[tuple[int, int]]:
    """Sample a sorted list of presentation times: yield (k, position in the list).

    Args:
        times: presentation times in seconds, in rising order.
        end: seconds at which the last picture leaves the screen.
        fps: samples a second.
        start: as in `Sampler`.
        first: as in `Sampler`.
    """
    sampler = Sampler(fps, start=start, first=first)
    position = -1
    for time in times:
        for k in sampler.push(time):
            yield k, position
        position += 1
    for k in sampler.finish(end):
        yield k, position
