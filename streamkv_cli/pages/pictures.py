"""Thumbnails out of the store, as pictures that stand in a page."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from markupsafe import Markup

from store import StoreError
from streamkv_cli.video.thumbnail import thumbnail_time

if TYPE_CHECKING:
    from store import SegmentRecord, Store

T = TypeVar("T")

LARGEST = 64 << 10
"""Bytes; what is larger was not written by an ingest of ours, and would bloat the page."""


@dataclass(frozen=True)
class Found:
    """A thumbnail that a segment has: its attachment's name, and seconds of the frame it shows."""

    segment: int
    name: str
    time: float


@dataclass(frozen=True)
class Picture:
    """A thumbnail in a page: its `data:` address, and seconds of the frame it shows."""

    uri: Markup
    time: float


class Pictures:
    """Reads thumbnails of one store.

    Attributes:
        unread: why thumbnails could not be read, one line each.
        shape: width over height of the first one, within what a card can show.
    """

    def __init__(self, store: Store) -> None:
        self.unread: list[str] = []
        self.shape = 4 / 3
        self._store = store
        self._first = True
        # A page on many questions comes back to the same videos.
        self._of = lru_cache(maxsize=16)(self._segments)

    def segments(self, video_id: str) -> Sequence[SegmentRecord]:
        """The segments of a video; none where they do not read, which `unread` then says."""
        return self._of(video_id)

    def read(self, video_id: str, found: Found) -> Picture | None:
        """The picture; None where it does not read, which `unread` then says."""
        try:
            data = self._store.attachment(video_id, found.segment, found.name)
        except StoreError as error:
            self.unread.append(str(error))
            return None
        if self._first:
            self._first = False
            self.shape = _shape(data)
        return Picture(Markup("data:image/jpeg;base64," + b64encode(data).decode()), found.time)

    def _segments(self, video_id: str) -> Sequence[SegmentRecord]:
        try:
            return self._store.segments(video_id)
        except StoreError as error:  # removed meanwhile, or damaged
            self.unread.append(str(error))
            return ()


def _shape(data: bytes) -> float:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return round(min(max(image.width / image.height, 0.75), 1.85), 3)
    except OSError:
        return 4 / 3


def thumbnails(segment: SegmentRecord) -> list[Found]:
    """Thumbnails of a segment, in order of time; none in memories made without."""
    found = []
    for name, attached in segment.attachments.items():
        time = thumbnail_time(name)
        if time is not None and attached.bytes <= LARGEST:
            found.append(Found(segment.number, name, time))
    return sorted(found, key=lambda f: f.time)


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly spread, and the middle one where it is one."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]
