"""Segment keys in runs: what a search over thousands of hours reads instead of every entry.

A coarse entry holds one key a segment (its summary block's, or the mean of its block keys) for up
to RUN consecutive segments of one layer of one video, behind each other. It is derived from the
entries in `summaries` once no more segment can come into its run, so nothing is written twice; a
run without one, which is that of a video still growing or of a store that was written before there
were any, is read from those entries instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import xxhash

from store.entries import (
    KEY_DTYPES,
    read_last_key,
    read_summary,
    seal,
    summary_key,
    summary_prefix,
)
from store.geometry import Geometry
from store.records import VideoRecord
from store.state import VideoState

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DATABASE = "coarse"
RUN = 128
"""Segments in a run."""

MAGIC = b"SKC1"
# magic, key dtype, nothing, KV heads, head size, number of the first segment, segments; blocks that
# they have, bytes of a block
_WHICH = struct.Struct("<4sBBHIII")
_SIZES = struct.Struct("<QQ")
HEADER = _WHICH.size + _SIZES.size

Find = Callable[[bytes], bytes | None]
"""The value of an entry of `summaries` by its key."""


def coarse_key(layer: int, video_id: str, run: int) -> bytes:
    """Key in `coarse`: layer (u16), video id, number of the run (u32), big-endian."""
    return summary_prefix(layer, video_id) + struct.pack(">I", run)


def run_length(state: VideoState, run: int) -> int:
    """Segments of a run that is over, so that it has coarse entries; 0 for any other."""
    first, stop = run_numbers(run).start, run_numbers(run).stop
    over = stop <= state.segments or (state.ended and first < state.segments)
    if not over or any(first <= number < stop for number in state.missing):
        return 0
    return min(stop, state.segments) - first


def run_of(number: int) -> int:
    """The run of segment `number`."""
    return number // RUN


def run_numbers(run: int) -> range:
    """The numbers that a run has room for."""
    return range(run * RUN, (run + 1) * RUN)


def runs(state: VideoState) -> range:
    """The runs of a video, those included that are not over."""
    return range(-(-state.segments // RUN))


def coarse_values(
    video: VideoRecord, state: VideoState, number: int, find: Find
) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) in `coarse` of the run of segment `number`; none where it is not over.

    Args:
        state: the video's state with that segment.
        find: gives the entries that they are derived from.

    Raises:
        ValueError: one of those is missing or not as written.
    """
    run = run_of(number)
    for layer in range(video.geometry.layers):
        value = coarse_value(video, state, layer, run, find)
        if value is not None:
            yield coarse_key(layer, video.video_id, run), value


def coarse_value(
    video: VideoRecord, state: VideoState, layer: int, run: int, find: Find
) -> bytes | None:
    """The value in `coarse` of a run in one layer; None where it is not over. As above."""
    import numpy as np

    geometry, count = video.geometry, run_length(state, run)
    if not count:
        return None
    keys = key_array(geometry, count)
    rows = size = 0
    for at in range(count):
        entry = summary_key(layer, video.video_id, run * RUN + at)
        value = find(entry)
        if value is None:
            raise ValueError(f"segment {run * RUN + at} is missing in layer {layer}")
        more, size, keys[at] = segment_key(entry, value, geometry)
        rows += more
    stored = np.ascontiguousarray(keys, keys.dtype.newbyteorder("<"))
    header = which(geometry, run, count) + _SIZES.pack(rows, size)
    return seal(coarse_key(layer, video.video_id, run), header + stored.tobytes())


def which(geometry: Geometry, run: int, count: int) -> bytes:
    """What an entry of `count` segments of a run begins with."""
    kind, heads, size = KEY_DTYPES[geometry.key_dtype()], geometry.kv_heads, geometry.head_dim
    return _WHICH.pack(MAGIC, kind, 0, heads, size, run * RUN, count)


def read_run(key: bytes, value: memoryview, begins: bytes, keys: memoryview) -> tuple[int, int]:
    """Copy the keys of a coarse entry, and verify what was copied.

    Args:
        value: the entry, in the index's own pages.
        begins: `which` of the run.
        keys: where they go, exactly as long as they are.

    Returns:
        Blocks that the segments have, and their bytes.

    Raises:
        ValueError: damaged, or not of this geometry or run.
    """
    if len(value) != HEADER + len(keys) + 8:
        raise ValueError("it is not as long as its segments make it")
    keys[:] = value[HEADER:-8]
    header, stored = bytes(value[:HEADER]), bytes(value[-8:])
    digest = xxhash.xxh3_64(key)
    digest.update(header)
    digest.update(keys)
    if digest.intdigest() != int.from_bytes(stored, "little"):
        raise ValueError("checksum mismatch")
    if not header.startswith(begins):
        raise ValueError("it is not of this run")
    rows, size = _SIZES.unpack_from(header, _WHICH.size)
    return rows, rows * size


def segment_key(
    key: bytes, value: bytes, geometry: Geometry
) -> tuple[int, int, npt.NDArray[np.floating]]:
    """Out of an entry of `summaries`: rows, bytes of a block, and its segment's key [g, d].

    Raises:
        ValueError: damaged, or not of this geometry.
    """
    import numpy as np

    dtype = np.dtype(geometry.key_dtype())
    shape = (geometry.kv_heads, geometry.head_dim)
    rows, size, last = read_last_key(key, value, shape[0] * shape[1] * dtype.itemsize)
    if last is not None:
        return rows, size, np.frombuffer(last, dtype).reshape(shape)
    return rows, size, _mean(read_summary(key, value).keys)


def key_array(geometry: Geometry, count: int) -> npt.NDArray[Any]:
    """Room for the keys of so many segments."""
    import numpy as np

    return np.empty((count, geometry.kv_heads, geometry.head_dim), dtype=geometry.key_dtype())


def among(puts: Mapping[bytes, bytes], find: Find) -> Find:
    """Entries that are about to be written before those that are there."""
    return lambda key: puts.get(key) or find(key)


def _mean(keys: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    import numpy as np

    if not len(keys):
        return np.zeros(keys.shape[1:], keys.dtype)
    mean: npt.NDArray[np.floating] = keys.astype(np.float32).mean(axis=0).astype(keys.dtype)
    return mean
