"""The page of one video: its segments in time, with pictures, and what of them was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamkv_cli.pages.heat_map import COLOUR, heat_map, kept_shares
from streamkv_cli.pages.pictures import Picture, Pictures, spread, thumbnails
from streamkv_cli.pages.render import render
from streamkv_cli.wording import bytes_text, count, hourly, time_text

if TYPE_CHECKING:
    from store import SegmentRecord, VideoRecord, VideoState

MOST_CARDS = 480
"""Cards, and so pictures, of a page; of a video with more segments, several share one."""

MOST_STRIPES = 400
"""Stretches of the heat map that can be pointed at."""

_FILMSTRIP = 12
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS = 8


@dataclass(frozen=True)
class Card:
    """One segment, or some in a row where there are very many.

    Attributes:
        picture: one of theirs; None where they have none.
        kept: mean share kept over their layers.
        gap: segments lost before them.
    """

    first: int
    last: int
    start: float
    end: float
    frames: int
    bytes: int
    kept: float
    picture: Picture | None
    gap: int = 0
    segments: list[SegmentRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """A stretch of the time axis: where it lies in percent of the width, and its words."""

    left: float
    width: float
    text: str
    card: int = 0


def video_page(
    record: VideoRecord, state: VideoState, segments: Sequence[SegmentRecord], pictures: Pictures
) -> str:
    """HTML of the page.

    Args:
        segments: all that are there, in order.
        pictures: of the store; what of them could not be read is noted there.
    """
    start = segments[0].start if segments else 0.0
    end = max((segment.end for segment in segments), default=0.0)
    shares = [kept_shares(segment) for segment in segments]
    top = max((share for layers in shares for share in layers), default=1.0)
    cards = _cards(record.video_id, segments, pictures)
    axis = _Axis(start, end)
    return render(
        "video.html",
        title=record.name,
        record=record,
        state=state,
        tiles=_tiles(record, segments, end - start),
        filmstrip=spread([card for card in cards if card.picture], _FILMSTRIP),
        heat=heat_map(segments, start, end, top) if segments else None,
        layers=record.geometry.layers,
        top=top,
        colour=COLOUR,
        ticks=axis.ticks(),
        stripes=[axis.stripe(card) for card in spread(cards, MOST_STRIPES)],
        cards=cards,
        together=_together(segments),
        pictured=any(thumbnails(segment) for segment in segments),
        profile=_profile(record),
        shape=pictures.shape,
    )


def _together(segments: Sequence[SegmentRecord]) -> int:
    """Segments that share a card."""
    return max(1, -(-len(segments) // MOST_CARDS))


def _cards(video_id: str, segments: Sequence[SegmentRecord], pictures: Pictures) -> list[Card]:
    size = _together(segments)
    cards, expected = [], 0
    for at in range(0, len(segments), size):
        group = list(segments[at : at + size])
        found = spread([f for segment in group for f in thumbnails(segment)], 1)
        shares = [share for segment in group for share in kept_shares(segment)]
        gap = sum(b.number - a - 1 for a, b in _pairs(expected - 1, group))
        cards.append(
            Card(
                first=group[0].number,
                last=group[-1].number,
                start=group[0].start,
                end=group[-1].end,
                frames=sum(segment.frames for segment in group),
                bytes=sum(segment.bytes for segment in group),
                kept=sum(shares) / max(len(shares), 1),
                picture=pictures.read(video_id, found[0]) if found else None,
                gap=gap,
                segments=group,
            )
        )
        expected = group[-1].number + 1
    return cards


def _pairs(before: int, group: Sequence[SegmentRecord]) -> list[tuple[int, SegmentRecord]]:
    """Each segment with the number of the one before it."""
    return list(zip([before, *(segment.number for segment in group)], group, strict=False))


def _tiles(
    record: VideoRecord, segments: Sequence[SegmentRecord], seconds: float
) -> list[tuple[str, str]]:
    size = sum(segment.bytes for segment in segments)
    seen = sum(len(segment.spans) for segment in segments) * record.geometry.layers
    kept = sum(sum(segment.rows()) for segment in segments)
    frames = sum(segment.frames for segment in segments)
    return [
        ("length", time_text(seconds)),
        ("frames", f"{frames:,}"),
        ("segments", f"{len(segments):,}"),
        ("blocks kept", f"{kept / seen:.1%}" if seen else "-"),
        ("on disk", bytes_text(size)),
        ("an hour of video", bytes_text(hourly(size, seconds))),
    ]


def _profile(record: VideoRecord) -> list[tuple[str, str]]:
    """What the memory depends on; of a model on this machine its name, not where it lies."""
    model = str(record.notes.get("model", ""))
    facts: dict[str, Any] = {
        "id": record.video_id,
        "date": record.created,
        "model": model.rstrip("/").rsplit("/", 1)[-1] if model.startswith("/") else model,
        "preset": record.notes.get("preset"),
        **record.profile,
    }
    facts |= {f"tag {key}": value for key, value in sorted(record.tags.items())}
    return [(name.replace("_", " "), _value(value)) for name, value in facts.items() if value != ""]


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


class _Axis:
    """Time from left to right, in percent."""

    def __init__(self, start: float, end: float) -> None:
        self._start = start
        self._span = max(end - start, 1e-9)

    def ticks(self) -> list[Mark]:
        """Round times, few enough to be read side by side."""
        steps = (step for step in _STEPS if self._span / step <= _MOST_TICKS)
        step = next(steps, int(self._span))
        first = -(-int(self._start) // step) * step
        times = range(first, int(self._start + self._span) + 1, step)
        return [Mark(self._at(t), 0.0, time_text(t)) for t in times if t >= self._start]

    def stripe(self, card: Card) -> Mark:
        """Where a card's segments lie."""
        left = self._at(card.start)
        number = f"segment {card.first}"
        if card.first != card.last:
            number = f"segments {card.first} to {card.last}"
        text = (
            f"{number}: {time_text(card.start)} to {time_text(card.end)}, "
            f"{count(card.frames, 'frame')}, {card.kept:.0%} kept"
        )
        return Mark(left, max(self._at(card.end) - left, 0.0), text, card.first)

    def _at(self, time: float) -> float:
        return round((time - self._start) / self._span * 100, 3)
