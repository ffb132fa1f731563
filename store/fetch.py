"""Chosen blocks as one tensor: read as they are on disk, decoded where they are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from store.blocks import IOCount, fill
from store.codec import CODECS, codec_of

if TYPE_CHECKING:
    from store.records import VideoRecord
    from store.summaries import BlockRef


def fetch(
    refs: Sequence[BlockRef],
    records: Mapping[str, VideoRecord],
    videos: Path,
    count: IOCount,
    device: torch.device | str,
) -> torch.Tensor:
    """Read, verify and decode blocks of videos of one geometry; their codecs may differ.

    Args:
        refs: at least one.
        records: the videos they are of, by id.
        videos: the folder that holds the videos' folders.
        count: added to.
        device: where the blocks are decoded.

    Returns:
        [n, 2, kv_heads, tokens, head_dim] on `device`, in the order of `refs`.

    Raises:
        ValueError: a ref is not of its video's size of block.
        StoreError: as `store.blocks.fill`, or a codec is unknown.
    """
    geometry, there = records[refs[0].video_id].geometry, torch.device(device)
    rows: dict[str, list[int]] = {}
    sizes = {key: codec_of(each).block_bytes(geometry) for key, each in records.items()}
    for i, ref in enumerate(refs):
        if ref.nbytes != sizes[ref.video_id]:
            raise ValueError("these blocks are not of the size of the video's blocks")
        rows.setdefault(records[ref.video_id].codec, []).append(i)
    packed, parts = {}, [memoryview(b"")] * len(refs)
    for name, places in rows.items():
        size = CODECS[name].block_bytes(geometry)
        packed[name] = _staging((len(places), size), there)
        array: Any = packed[name].numpy()
        for i, row in zip(places, array, strict=True):
            parts[i] = memoryview(row)
    fill(parts, refs, videos, count, {key: record.name for key, record in records.items()})
    decoded = [
        CODECS[name].decode(part.to(there, non_blocking=there.type == "cuda"), geometry)
        for name, part in packed.items()
    ]
    if len(decoded) == 1:
        return decoded[0]
    joined = torch.cat(decoded)
    order = torch.tensor([i for places in rows.values() for i in places], device=joined.device)
    return joined.index_select(0, order.argsort())


def _staging(shape: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Memory to read into: pinned for a CUDA GPU, which then copies it while others work.

    PyTorch keeps pinned memory, and gives it out again once the copy from it is done.
    """
    if device.type == "cuda":
        with suppress(RuntimeError):  # no more memory may be pinned
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    return torch.empty(shape, dtype=torch.uint8)
