"""When is a change of picture a cut? A fixed threshold, or one that calibrates itself.

The published 0.99 belongs to one model: projected features of another lie elsewhere, and a
threshold that splits everything or nothing there would still look like a setting. What holds for
all of them is that a cut is an outlier among the changes of its own stream.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from statistics import median
from typing import Protocol

_SMALLEST = 1e-7
"""A change this small is rounding."""


class CutRule(Protocol):
    """Decides, frame by frame, whether a similarity is a cut; told of every similarity once."""

    def is_cut(self, similarity: float) -> bool:
        """Whether s_t, the cosine of a frame with the one before it, is a cut."""
        ...


@dataclass(frozen=True)
class FixedThreshold:
    """A cut where s_t is not above the threshold (the published rule)."""

    threshold: float

    def is_cut(self, similarity: float) -> bool:
        """Whether s_t <= threshold."""
        return similarity <= self.threshold


class CalibratedThreshold:
    """A cut where the change 1 - s_t stands far out from the recent changes of the same stream.

    Changes within scenes spread over orders of magnitude (a still room, a walk through a crowd, and
    another model altogether), changes at cuts lie far above them. So they are compared by ratio:

        cut  <=>  1 - s_t >= max(8 x median, typical / 8, 1e-7)

    with the median of the changes remembered, and as a typical cut the median of their largest
    eighth, cuts included: once real cuts have been seen, a movement in a stream of still scenes is
    not taken for one.

    Only the past is consulted, so the same stream is always cut at the same places, and a stream
    that goes on for ever needs no more than `history` numbers.
    """

    def __init__(self, ratio: float = 8.0, history: int = 256, warm_up: int = 3) -> None:
        self.ratio = ratio
        self.warm_up = warm_up
        self._changes: deque[float] = deque(maxlen=history)

    @property
    def changes(self) -> list[float]:
        """The changes it remembers, oldest first: all there is to save to go on later."""
        return list(self._changes)

    @changes.setter
    def changes(self, values: Sequence[float]) -> None:
        self._changes = deque(values, maxlen=self._changes.maxlen)

    @property
    def threshold(self) -> float:
        """The similarity at or below which the next frame would be a cut; -2 while warming up."""
        if len(self._changes) < self.warm_up:
            return -2.0
        largest = nlargest(-(-len(self._changes) // 8), self._changes)
        outlying = self.ratio * median(self._changes)
        return 1.0 - max(outlying, median(largest) / self.ratio, _SMALLEST)

    def is_cut(self, similarity: float) -> bool:
        """Whether s_t is at or below the threshold of the changes before it."""
        cut = similarity <= self.threshold
        self._changes.append(1.0 - similarity)
        return cut
