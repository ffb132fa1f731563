"""Videos that one model can read together: their blocks have one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from store.errors import StoreRefused
from store.records import VideoRecord, first_difference


def refuse_other_kinds(videos: Sequence[VideoRecord], layer: int) -> None:
    """Refuse videos whose block keys differ in shape or dtype; tokens a block may differ.

    Raises:
        StoreRefused: two of them differ.
        ValueError: no such layer.
    """
    seen = set()
    for video in videos:
        if video.geometry in seen:
            continue  # thousands of videos of one model
        seen.add(video.geometry)
        first, tokens = videos[0], video.geometry.tokens
        refuse_other_shape(video, replace(first, geometry=replace(first.geometry, tokens=tokens)))
        if not 0 <= layer < video.geometry.layers:
            raise ValueError(f"layer {layer} of a model of {video.geometry.layers} layers")


def refuse_other_shape(video: VideoRecord, first: VideoRecord) -> None:
    """Refuse a video whose blocks are not of the same shape as another's."""
    if video.geometry != first.geometry:
        raise StoreRefused(
            f"videos {first.name} and {video.name} hold KV of different shapes: "
            f"{first_difference(first, video, ['geometry'])}",
            "ask only videos that were ingested with the same model",
        )
