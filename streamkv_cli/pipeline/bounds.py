"""Which seconds of a video a question may draw from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store import SegmentRecord

_HAIR = 1e-6
"""Spans are stored to the microsecond."""


@dataclass(frozen=True)
class Bounds:
    """Seconds a question is about; None is no bound.

    Attributes:
        start, end: only pictures shown from `start` on and before `end` are evidence.
        at: the question is asked at this second: nothing shown later may influence the answer.
    """

    start: float | None = None
    end: float | None = None
    at: float | None = None

    @property
    def none(self) -> bool:
        """Everything is admitted."""
        return self.start is None and self.end is None and self.at is None

    def admits(self, segment: SegmentRecord, lossless: bool) -> npt.NDArray[np.bool_]:
        """Which blocks of a segment may be fetched, [spans + 1]; the last is the summary block.

        A summary block stands for the whole segment, so it needs the whole segment to be inside.

        `at` is stricter than `end`. Which blocks of a segment were kept, and which of its frames
        were averaged, was decided when the segment was over, by all of its frames. So of a segment
        that was not over at that moment nothing is admitted: the memory is then that of a video
        that ends with the segment before. Only where nothing was chosen and nothing averaged
        (`keep` 1: no summary block, every block kept in every layer) single blocks are admitted:
        attention is causal, and a block's KV knows nothing of the frames behind it.
        """
        starts = np.array([span.start for span in segment.spans], dtype=np.float64)
        ends = np.array([span.end for span in segment.spans], dtype=np.float64)
        single = np.array([span.frames == 1 for span in segment.spans], dtype=np.bool_)
        inside = np.ones(len(starts), dtype=np.bool_)
        if self.start is not None:
            inside &= starts >= self.start - _HAIR
        if self.end is not None:
            # A picture is shown at its span's beginning; an average also holds later ones.
            inside &= (ends <= self.end + _HAIR) | (single & (starts < self.end - _HAIR))
        if self.at is not None and segment.end > self.at + _HAIR:
            inside &= (ends <= self.at + _HAIR) if lossless else False
        whole = segment.summary and bool(inside.all())
        return np.append(inside, whole)
