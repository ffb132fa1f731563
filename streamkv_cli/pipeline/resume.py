"""Where an interrupted ingest goes on; light, so that the decoder can start before the model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store import Gap, Store, find_gaps

if TYPE_CHECKING:
    from streamkv_cli.model.device import Placement

VISION_BATCH = {"cuda": 32, "mps": 16, "cpu": 8}
"""Frames a vision forward, by device type. Part of no profile: it changes speed only."""


@dataclass(frozen=True)
class ResumePoint:
    """Where an interrupted ingest goes on, or a gap begins.

    Attributes:
        number: of the segment to begin with.
        held: segments that are there.
        next_frame, next_time: grid index and seconds of the first frame of that segment.
        changes: 1 - s_t of all frames so far, which the cut rule may have learnt from.
        gap: what is to be filled; None where all that follows is.
    """

    number: int = 0
    held: int = 0
    next_frame: int = 0
    next_time: float = 0.0
    changes: tuple[float, ...] = ()
    gap: Gap | None = None

    def start(self, batch: int, fps: float) -> float:
        """Second to open the video at.

        That is where the vision batch of the next frame begins: in another batch, the last bits of
        its features could come out differently. Half a step early, so that no rounding skips it.
        """
        if not self.number:
            return 0.0
        return max(0.0, self.next_time - (self.next_frame % batch + 0.5) / fps)


def resume_point(store: Store, video_id: str | None) -> ResumePoint:
    """Read off the store how far an ingest had come; None is a video the store does not know."""
    if video_id is None:
        return ResumePoint()
    state, segments = store.state(video_id), store.segments(video_id)
    gap = next(iter(find_gaps(state, segments)), None)
    number = state.next_number
    before = segments[:number]  # whole, because the first gap is filled first
    if not before:
        return ResumePoint(held=state.held, gap=gap)
    notes = before[-1].notes
    changes = tuple(change for segment in before for change in segment.notes["changes"])
    return ResumePoint(number, state.held, notes["next_frame"], notes["next_time"], changes, gap)


def vision_batch(placement: "Placement") -> int:
    """Frames the vision tower takes at once on this device."""
    return VISION_BATCH.get(placement.device.type, 8)


class OvertakenError(Exception):
    """Another process has written this video since its resume point was read."""
