"""Which slots of stored blocks are in use, and how a video's blocks are laid out: kept as notes.

Where words stand before a block's picture (its time, its number), blocks need different numbers of
slots for them. The store keeps all blocks of a video alike; what is unused is noted with each
segment, and the layout with the video.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from store import StoreRefused

if TYPE_CHECKING:
    from store import LayerSummaries, SegmentRecord, VideoRecord
    from streamkv_cli.model.layout import Layout
    from streamkv_cli.model.video_llm import VideoLLM

_LAYOUT, _SKIPS = "layout", "skips"


def note_layout(layout: "Layout") -> dict[str, Any]:
    """A video's note of its layout."""
    return {_LAYOUT: asdict(layout)}


def layout_of(record: "VideoRecord", model: "VideoLLM") -> "Layout":
    """The layout of a stored video's blocks.

    Raises:
        StoreRefused: the model lays blocks out in another way.
    """
    noted = record.notes.get(_LAYOUT)
    try:
        # Before layouts were noted, there was one for all videos of a model.
        layout = model.layout_type(**noted) if noted else model.lay_out(0, 0, 1.0)
    except TypeError:
        layout = None
    if layout is None or layout.tokens != record.geometry.tokens:
        raise StoreRefused(
            f"{record.name} has blocks of {record.geometry.tokens} tokens laid out in a way that "
            f"this model does not know",
            "ask with the version of streamkv that ingested it, or ingest it again",
        )
    return layout


def note_skips(skips: Sequence[int]) -> dict[str, Any]:
    """A segment's note of unused slots, one number a block, the summary block last; if any."""
    return {_SKIPS: list(skips)} if any(skips) else {}


def skips_by_row(
    summaries: "LayerSummaries",
    segment: Callable[[int, int], "SegmentRecord"],
    rows: Sequence[int],
) -> list[int]:
    """Unused slots of rows of a layer's summaries.

    Args:
        segment: the record of a segment, by the place of its video and its number.
    """
    found = []
    for row in rows:
        record = segment(int(summaries.video[row]), int(summaries.segment[row]))
        skips = record.notes.get(_SKIPS)
        found.append(skips[summaries.block[row]] if skips else 0)
    return found
