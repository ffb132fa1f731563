"""Small videos for the store's tests: real tensors, a few kilobytes each."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import torch

from store import (
    BlockSpan,
    Geometry,
    LayerBlocks,
    SegmentRecord,
    Store,
    VideoRecord,
    VideoWriter,
)
from store.entries import COMMIT_KEY, seal
from store.segment_file import read_head

VIDEO = "0123456789abcdef"
OTHER = "fedcba9876543210"
GEOMETRY = Geometry(layers=3, kv_heads=2, tokens=5, head_dim=4, dtype="bfloat16")


def record(video_id: str = VIDEO, geometry: Geometry = GEOMETRY, **changes: Any) -> VideoRecord:
    base = VideoRecord(
        video_id=video_id,
        name="walk.mp4",
        source="/videos/walk.mp4",
        fingerprint="f00d",
        profile={"fps": 0.5, "model": {"dtype": "bfloat16", "revision": "main"}},
        geometry=geometry,
        created="2025-01-02T03:04:05+00:00",
        notes={"duration": 24.0},
    )
    return replace(base, **changes)


def spans(number: int, count: int = 4) -> list[BlockSpan]:
    return [BlockSpan(number * 8.0 + 2 * i, number * 8.0 + 2 * i + 2, 1) for i in range(count)]


def layers(
    number: int,
    geometry: Geometry = GEOMETRY,
    chosen: Sequence[Sequence[int]] = ((0, 2, 4), (1, 4), (0, 1, 2, 3, 4)),
) -> list[LayerBlocks]:
    """The same tensors for the same number, in every process; layer l keeps blocks chosen[l]."""
    torch_dtype = getattr(torch, geometry.dtype)
    g, p, d = geometry.kv_heads, geometry.tokens, geometry.head_dim
    made = []
    for layer in range(geometry.layers):
        blocks = chosen[layer % len(chosen)]
        source = torch.Generator().manual_seed(1000 * number + layer)
        kv = torch.randn(len(blocks), 2, g, p, d, generator=source).to(torch_dtype)
        made.append(LayerBlocks(blocks, kv, torch.randn(len(blocks), g, d, generator=source)))
    return made


def commit(writer: VideoWriter, *, final: bool = False, **changes: Any) -> SegmentRecord:
    """Commit the writer's next segment."""
    number = writer.next_number
    given: dict[str, Any] = {
        "number": number,
        "start": number * 8.0,
        "end": number * 8.0 + 8,
        "frames": 4,
        "spans": spans(number),
        "layers": layers(number, writer.record.geometry),
        "summary": True,
        "final": final,
    }
    return writer.commit(**{**given, **changes})


def fill(path: Path, count: int = 3, video_id: str = VIDEO) -> Path:
    """A store with one finished video of `count` segments."""
    with Store.open(path, create=True) as store, store.writer(record(video_id)) as writer:
        for number in range(count):
            commit(writer, final=number == count - 1)
    return path


def digest(store: Store) -> str:
    """A digest of everything that a reader can get out of a store."""
    seen = hashlib.sha256()
    for video, state in store.videos():
        seen.update(repr((video, state, store.segments(video.video_id))).encode())
        for each in layers_of(store, video):
            seen.update(each)
    return seen.hexdigest()


def layers_of(store: Store, video: VideoRecord) -> Iterator[bytes]:
    """Block keys, numbers and blocks of each layer of a video."""
    for layer in range(video.geometry.layers):
        found = store.summaries(layer, [video.video_id])
        blocks = store.read_blocks(layer, found.refs(range(len(found))))
        own = found.keys.numpy().tobytes() + found.block.tobytes()
        yield own + blocks.view(torch.uint8).numpy().tobytes()


def flip(path: Path, byte: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def sign(env: lmdb.Environment, txn: lmdb.Transaction) -> None:
    """Name the commit in the index, as every write of the store does."""
    number = seal(COMMIT_KEY, b"%d" % txn.id())
    txn.put(COMMIT_KEY, number, db=env.open_db(b"meta", txn=txn))


def damage_last_block(path: Path) -> None:
    """Flip a bit of the last block of the last layer; what is attached lies behind it."""
    layout = read_head(path).layout
    flip(path, min([*layout.attachments.values(), layout.total]) - 1)


def segment_path(store: Path, number: int, video_id: str = VIDEO) -> Path:
    return store / "videos" / video_id / f"{number:08d}.safetensors"
