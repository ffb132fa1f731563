"""What the store keeps about videos and segments, and its exact JSON form.

Every record has one byte-exact JSON form (sorted keys, no spaces, ASCII): the same record gives
the same bytes in every process.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from store.attachments import Attachment, attachments_from_json, attachments_to_json
from store.geometry import Geometry, whole

_VIDEO_ID = re.compile(r"[0-9a-f]{16}")
_CODEC = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_MOST = 0xFFFFFFFF


@dataclass(frozen=True)
class BlockSpan:
    """The time one block covers, in seconds; `frames` > 1 where frames were merged."""

    start: float
    end: float
    frames: int


@dataclass(frozen=True)
class VideoRecord:
    """One video: who it is, and everything its KV depends on.

    Args:
        video_id: 16 lower-case hex digits, chosen by the caller.
        profile: JSON values only; the store compares it and never looks inside.
        created: ISO 8601 time; of the video, so that the same file gives the same bytes again.
        notes: JSON values the caller keeps; not compared.
        codec: how blocks are written, a name in `store.codec`. A name that this program does not
            know can be listed and not read.
        tags: the user's own words for the video; not compared.

    Raises:
        ValueError: a malformed video id, codec or tags.
    """

    video_id: str
    name: str
    source: str
    fingerprint: str
    profile: Mapping[str, Any]
    geometry: Geometry
    created: str
    notes: Mapping[str, Any]
    codec: str = "raw"
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a malformed id, codec or tags."""
        check_video_id(self.video_id)
        texts = (self.name, self.source, self.fingerprint, self.created)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a video's name, source, fingerprint and time are texts")
        if not isinstance(self.profile, Mapping) or not isinstance(self.notes, Mapping):
            raise ValueError("profile and notes are mappings")
        if not isinstance(self.codec, str) or not _CODEC.fullmatch(self.codec):
            raise ValueError(f"a codec is a short name, not {self.codec!r}")
        if not isinstance(self.tags, Mapping) or not all(
            isinstance(text, str) for pair in self.tags.items() for text in pair
        ):
            raise ValueError(f"tags are texts by name, not {self.tags!r}")


@dataclass(frozen=True)
class SegmentRecord:
    """One segment of a video.

    Args:
        number: 0, 1, 2, ... within the video.
        start: seconds; `end` likewise.
        frames: frames that went into it.
        spans: one per block before compression, in time order.
        kept: blocks kept in each layer, the summary block not counted.
        summary: whether each layer's last row is a summary block.
        bytes: size of the segment file.
        final: the video's last segment.
        notes: JSON values the caller keeps.
        attachments: small named byte strings in the segment file.
    """

    number: int
    start: float
    end: float
    frames: int
    spans: tuple[BlockSpan, ...]
    kept: tuple[int, ...]
    summary: bool
    bytes: int
    final: bool
    notes: Mapping[str, Any]
    attachments: Mapping[str, Attachment] = field(default_factory=dict)

    def rows(self) -> tuple[int, ...]:
        """Rows stored in each layer: the blocks kept and the summary block."""
        return tuple(kept + self.summary for kept in self.kept)


def check_video_id(video_id: str) -> str:
    """`video_id` itself; ValueError unless it is 16 lower-case hex digits.

    Ids become folder names: nothing else can be let through to a path.
    """
    if not isinstance(video_id, str) or not _VIDEO_ID.fullmatch(video_id):
        raise ValueError(f"a video id is 16 lower-case hex digits, not {video_id!r}")
    return video_id


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII only.

    Raises:
        ValueError: something in it is not a JSON value (NaN and infinity are not).
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except TypeError as error:
        raise ValueError(f"not a JSON value: {error}") from error


def video_to_json(video: VideoRecord) -> dict[str, Any]:
    """The record as JSON values."""
    geometry = video.geometry
    return {
        "video_id": video.video_id,
        "name": video.name,
        "source": video.source,
        "fingerprint": video.fingerprint,
        "profile": _plain(video.profile),
        "geometry": {
            "layers": geometry.layers,
            "kv_heads": geometry.kv_heads,
            "tokens": geometry.tokens,
            "head_dim": geometry.head_dim,
            "dtype": geometry.dtype,
        },
        "created": video.created,
        "notes": _plain(video.notes),
        "codec": video.codec,
        "tags": _plain(video.tags),
    }


def video_from_json(value: Any) -> VideoRecord:
    """The record from its JSON values; ValueError where they are not such a record."""
    fields = _fields(value, "video")
    geometry = _fields(fields.pop("geometry", None), "geometry")
    try:
        return VideoRecord(geometry=Geometry(**geometry), **fields)
    except TypeError as error:
        raise ValueError(f"not a video record: {error}") from error


def segment_to_json(segment: SegmentRecord) -> dict[str, Any]:
    """The record as JSON values, without `bytes`: a file cannot well contain its own size."""
    return {
        "number": segment.number,
        "start": float(segment.start),
        "end": float(segment.end),
        "frames": segment.frames,
        "spans": [[float(span.start), float(span.end), span.frames] for span in segment.spans],
        "kept": list(segment.kept),
        "summary": segment.summary,
        "final": segment.final,
        "notes": _plain(segment.notes),
        "attachments": attachments_to_json(segment.attachments),
    }


def segment_from_json(value: Any, size: int) -> SegmentRecord:
    """The record from its JSON values and the file's `size`; ValueError where they are not one."""
    fields = _fields(value, "segment")
    try:
        spans = tuple(BlockSpan(start, end, frames) for start, end, frames in fields.pop("spans"))
        kept = tuple(fields.pop("kept"))
        attachments = attachments_from_json(fields.pop("attachments", {}))
        record = SegmentRecord(
            spans=spans, kept=kept, bytes=size, attachments=attachments, **fields
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a segment record: {error}") from error
    check_segment(record)
    return record


def check_segment(record: SegmentRecord) -> None:
    """ValueError where a segment record contradicts itself."""
    spans = record.spans
    times = [record.start, record.end, *(t for span in spans for t in (span.start, span.end))]
    counts = [record.number, record.frames, record.bytes, *record.kept]
    counts += [span.frames for span in spans]
    if not all(isinstance(t, int | float) and math.isfinite(t) for t in times):
        raise ValueError("a segment's times must be finite numbers of seconds")
    if not all(whole(count) and count >= 0 for count in counts) or record.number > _MOST:
        raise ValueError("a segment's counts must be whole numbers, not negative")
    if record.end < record.start or any(span.end < span.start for span in spans):
        raise ValueError("a segment or a block ends before it starts")
    if any(a.start > b.start for a, b in pairwise(spans)):
        raise ValueError("the spans of a segment are not in time order")
    if any(kept > len(spans) for kept in record.kept):
        raise ValueError("a layer keeps more blocks than the segment has")
    if not isinstance(record.notes, Mapping):
        raise ValueError("a segment's notes are a mapping")
    if not isinstance(record.summary, bool) or not isinstance(record.final, bool):
        raise ValueError("summary and final are true or false")


IDENTITY = ("fingerprint", "geometry", "codec", "profile")


def first_difference(
    stored: VideoRecord, wanted: VideoRecord, parts: Sequence[str] = IDENTITY
) -> str:
    """The first point on which two records disagree, in words; "" if none.

    Args:
        parts: what is compared, in this order; by default all that a video's KV depends on.
    """
    for part in parts:
        old, new = video_to_json(stored)[part], video_to_json(wanted)[part]
        difference = _difference(part, old, new)
        if difference:
            return difference
    return ""


def with_bytes(segment: SegmentRecord, size: int) -> SegmentRecord:
    """The same record with the size of its file."""
    return replace(segment, bytes=size)


def _difference(path: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in old:
                return f"{path}.{key} is not stored, now {_short(new[key])}"
            if key not in new:
                return f"{path}.{key} is stored as {_short(old[key])}, now absent"
            difference = _difference(f"{path}.{key}", old[key], new[key])
            if difference:
                return difference
        return ""
    if canonical_json(old) == canonical_json(new):
        return ""
    return f"{path} is stored as {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _plain(value: Mapping[str, Any]) -> Any:
    """`value` as JSON would give it back, so that a record equals itself after a round trip."""
    if not isinstance(value, Mapping):
        raise ValueError(f"profile and notes are mappings, not {type(value).__name__}")
    return json.loads(canonical_json(dict(value)))


def _fields(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"not a {what} record: {type(value).__name__}")
    return dict(value)
