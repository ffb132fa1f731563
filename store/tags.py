"""Tags that were changed after the ingest: the one thing of a video that may change.

Segment files never change, so new tags get a file of their own beside them; what it says goes
before the tags in the segment files when the index is made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import xxhash

from store.disk import write_file
from store.errors import StoreDamaged
from store.records import canonical_json

TAGS_NAME = "tags.json"


def write_tags(folder: Path, tags: Mapping[str, str]) -> None:
    """Write a video's tags whole or not at all, durably."""
    text = canonical_json(dict(tags))
    body = canonical_json({"tags": dict(tags), "xxh3": _digest(text)})
    write_file(folder / TAGS_NAME, body.encode("ascii") + b"\n")


def read_tags(folder: Path) -> dict[str, str] | None:
    """A video's changed tags; None where they were never changed.

    Raises:
        StoreDamaged: the file is not as it was written.
    """
    path = folder / TAGS_NAME
    try:
        found = json.loads(path.read_bytes())
        tags = dict(found["tags"])
        if found["xxh3"] == _digest(canonical_json(tags)):
            return tags
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise StoreDamaged(
        f"the tags of a video are not as they were written: {path}",
        "delete that file, run streamkv repair, and tag the video again",
        video=folder.name,
    )


def _digest(text: str) -> str:
    return xxhash.xxh3_64(text.encode("ascii")).hexdigest()
