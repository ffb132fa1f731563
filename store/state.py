"""How far a video has come, gaps included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from store.records import SegmentRecord


@dataclass(frozen=True)
class VideoState:
    """How far a video has come.

    Args:
        ended: its final segment is there, and nothing can follow.
        segments: numbers given so far: the highest there is, and one.
        bytes: of segment files.
        start: seconds; `end` likewise.
        frames: frames ingested.
        missing: numbers below `segments` whose segment is lost, ascending: the gaps.
    """

    ended: bool
    segments: int
    bytes: int
    start: float
    end: float
    frames: int
    missing: tuple[int, ...] = ()

    @property
    def complete(self) -> bool:
        """The whole video is there, without a gap."""
        return self.ended and not self.missing

    @property
    def held(self) -> int:
        """Segments that are there."""
        return self.segments - len(self.missing)

    @property
    def next_number(self) -> int:
        """The number the next segment must have: of the first gap, or behind the last segment."""
        return self.missing[0] if self.missing else self.segments

    def numbers(self) -> Iterator[int]:
        """The numbers of the segments that are there."""
        lost = set(self.missing)
        return (number for number in range(self.segments) if number not in lost)

    def agrees(self, found: Sequence[int]) -> bool:
        """Whether these are the numbers of the segments that are there, in order."""
        return len(found) == self.held and all(map(int.__eq__, found, self.numbers()))

    def holds(self, number: int) -> bool:
        """Whether the segment of this number is there."""
        return number < self.segments and number not in self.missing

    def after(self, segment: SegmentRecord) -> VideoState:
        """The state once `segment` is there too; what it skips is missing from then on.

        Raises:
            ValueError: there is no place for it.
        """
        number = segment.number
        if self.holds(number) or (number >= self.segments and self.ended):
            raise ValueError(f"no place for a segment {number}")
        behind = number >= self.segments
        return VideoState(
            ended=segment.final if behind else self.ended,
            segments=max(self.segments, number + 1),
            bytes=self.bytes + segment.bytes,
            start=min(self.start, segment.start) if self.held else segment.start,
            end=segment.end if behind else self.end,
            frames=self.frames + segment.frames,
            missing=tuple(n for n in self.missing if n != number)
            + tuple(range(self.segments, number)),
        )


NOTHING_YET = VideoState(ended=False, segments=0, bytes=0, start=0.0, end=0.0, frames=0)


@dataclass(frozen=True)
class Gap:
    """Segments of a video that are lost.

    Args:
        first: number of the first of them; `last` likewise, None where nobody knows, behind
            the last segment there is.
        start: seconds; `end` likewise, None to the end of the video.
    """

    first: int
    last: int | None
    start: float
    end: float | None


def find_gaps(state: VideoState, segments: Sequence[SegmentRecord]) -> list[Gap]:
    """Every gap of a video, the open end of an unfinished one not counted."""
    found: list[Gap] = []
    there = {segment.number: segment for segment in segments}
    for number in state.missing:
        before, after = there.get(number - 1), there.get(number + 1)
        end = after.start if after else None
        if found and found[-1].last == number - 1:
            found[-1] = replace(found[-1], last=number, end=end)
        else:
            found.append(Gap(number, number, before.end if before else 0.0, end))
    return found


def state_to_json(state: VideoState) -> dict[str, Any]:
    """The state as JSON values; `missing` only where something is."""
    value = {
        "complete": state.ended,
        "segments": state.segments,
        "bytes": state.bytes,
        "start": float(state.start),
        "end": float(state.end),
        "frames": state.frames,
    }
    return value | {"missing": list(state.missing)} if state.missing else value


def state_from_json(value: Any) -> VideoState:
    """The state from its JSON values; ValueError where they are not one."""
    if not isinstance(value, dict):
        raise ValueError("not a state")
    try:
        state = VideoState(
            ended=value["complete"],
            segments=value["segments"],
            bytes=value["bytes"],
            start=value["start"],
            end=value["end"],
            frames=value["frames"],
            missing=tuple(value.get("missing", ())),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a state: {error}") from error
    counts = [state.segments, state.bytes, state.frames, *state.missing]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
        raise ValueError("a state's counts must be whole numbers, not negative")
    if not all(isinstance(t, int | float) and math.isfinite(t) for t in (state.start, state.end)):
        raise ValueError("a state's times must be finite numbers of seconds")
    if list(state.missing) != sorted(set(state.missing)) or not isinstance(state.ended, bool):
        raise ValueError("a state's gaps must ascend")
    if state.missing and state.missing[-1] >= state.segments - 1:
        raise ValueError("a gap needs a segment behind it")
    return state
