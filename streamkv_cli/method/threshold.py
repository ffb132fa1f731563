"""When is a change of picture a cut? A fixed threshold, or one that calibrates itself.

The published 0.99 belongs to one model: projected features of another lie elsewhere, and a
threshold that splits everything or nothing there would still look like a setting. What holds for
all of them is that a cut is an outlier among the changes of its own stream.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Protocol


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
    """A cut where the change 1 - s_t is an outlier among the recent changes of the same stream.

    An outlier lies more than `deviations` robust standard deviations (1.4826 x median absolute
    deviation) above the median change. Where the deviation is tiny, as in a still camera's stream,
    half the median stands in for it, so that noise is not cut into scenes; `floor` is the change
    below which two frames count as the same picture in any model.

    Only the past is consulted, so the same stream is always cut at the same places, and a stream
    that goes on for ever needs no more than `history` numbers.
    """

    def __init__(
        self,
        deviations: float = 4.0,
        floor: float = 1e-4,
        history: int = 256,
        warm_up: int = 3,
    ) -> None:
        self.deviations = deviations
        self.floor = floor
        self.warm_up = warm_up
        self._changes: deque[float] = deque(maxlen=history)

    @property
    def changes(self) -> list[float]:
        """The changes it remembers, oldest first: all there is to save to go on later."""
        return list(self._changes)

    @changes.setter
    def changes(self, values: list[float]) -> None:
        self._changes = deque(values, maxlen=self._changes.maxlen)

    @property
    def threshold(self) -> float:
        """The similarity at or below which the next frame would be a cut; -1 while warming up."""
        if len(self._changes) < self.warm_up:
            return -1.0
        middle = median(self._changes)
        spread = 1.4826 * median(abs(change - middle) for change in self._changes)
        return 1.0 - max(middle + self.deviations * max(spread, middle / 2), self.floor)

    def is_cut(self, similarity: float) -> bool:
        """Whether s_t is at or below the threshold of the changes before it."""
        cut = similarity <= self.threshold
        # A cut is no sample of how much the picture changes within a scene.
        if not cut:
            self._changes.append(1.0 - similarity)
        return cut
