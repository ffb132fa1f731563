"""Small named byte strings that travel in a segment file, such as a thumbnail of the segment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from store.geometry import whole

MOST_BYTES = 16 << 20
"""Of one attachment: it is read and written in one piece."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Attachment:
    """How long an attachment is, and the xxh3_64 of its bytes."""

    bytes: int
    checksum: int


def describe(attachments: Mapping[str, bytes]) -> dict[str, Attachment]:
    """What the record says of `attachments`; ValueError for a name or a size that cannot be."""
    for name, data in attachments.items():
        _check(name, len(data))
    return {
        name: Attachment(len(data), xxhash.xxh3_64_intdigest(data))
        for name, data in attachments.items()
    }


def attachments_to_json(attachments: Mapping[str, Attachment]) -> dict[str, Any]:
    """As JSON values; the checksum as hex, for not every reader of JSON knows 64-bit numbers."""
    return {
        name: {"bytes": found.bytes, "xxh3": f"{found.checksum:016x}"}
        for name, found in attachments.items()
    }


def attachments_from_json(value: Any) -> dict[str, Attachment]:
    """From their JSON values; ValueError where they are not such values."""
    if not isinstance(value, dict):
        raise ValueError("attachments are a mapping")
    found = {}
    for name, entry in value.items():
        if not isinstance(entry, dict) or set(entry) != {"bytes", "xxh3"}:
            raise ValueError(f"attachment {name!r} is not described")
        size, digest = entry["bytes"], entry["xxh3"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"attachment {name!r} has no checksum")
        _check(name, size)
        found[name] = Attachment(size, int(digest, 16))
    return found


def _check(name: str, size: Any) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"an attachment's name is of a-z, 0-9, '.', '_', '-', not {name!r}")
    if not whole(size) or not 0 <= size <= MOST_BYTES:
        raise ValueError(f"attachment {name} of {size} bytes: at most {MOST_BYTES} are kept")
