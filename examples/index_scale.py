"""What choosing blocks costs in an archive of 1, 100 and 1,000 hours: time and memory.

    python -m examples.index_scale [--hours 1 100 1000] [--shape llava-0.5b] [--json]

Builds an index of videos of an hour each with the store's own writer of index entries (random block
keys; there are no blocks, since none is read), and chooses blocks for random questions in all
layers, as `ask` does before it reads any: scan of the coarse entries, the best segments, their
blocks' scores, budgets by Algorithm 1. Beside it the bound: one pass over the same segment keys in
memory. Each size is measured in a process of its own. Memory is what the process has allocated
(RssAnon); pages of the index itself are the operating system's, which takes them back at will.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from store import BlockSpan, Geometry, SegmentRecord, Store, VideoRecord
from store.coarse import DATABASE, coarse_values
from store.codec import codec_of
from store.index import FOLDER, Index
from store.index_check import DATA
from store.layout import LayerTable, plan, record_text
from store.segment_file import SegmentHead
from store.state import NOTHING_YET
from store.writer import index_puts
from streamkv_cli.method.presets import preset
from streamkv_cli.method.selection import top_blocks
from streamkv_cli.pipeline.catalog import Catalog

FPS, KEEP = 0.5, 0.3
CHUNK = 2048
"""Segments scored at once by the bound: a conversion of these stays in the processor's cache."""
SHAPES = {
    "llava-0.5b": (Geometry(24, 2, 196, 64, "bfloat16"), 14),
    "llava-7b": (Geometry(28, 4, 196, 128, "bfloat16"), 28),
    "demo": (Geometry(4, 2, 16, 48, "float32"), 4),
}
"""Geometry and query heads."""


def build(folder: Path, hours: int, geometry: Geometry, frames: int) -> None:
    """A store whose index lists `hours` videos of an hour, in segments of `frames` frames."""
    Store.open(folder, create=True).close()
    index = Index(folder / FOLDER, write=True)
    for number in range(hours):
        record = VideoRecord(
            video_id=f"{number:016x}",
            name=f"camera-{number:04d}.mp4",
            source=f"/archive/camera-{number:04d}.mp4",
            fingerprint=f"{number:032x}",
            profile={"keep": KEEP, "fps": FPS},
            geometry=geometry,
            created="2026-01-01T00:00:00+00:00",
            notes={},
            codec="int8",
        )
        index.write(_video(record, round(3600 * FPS / frames), frames))
    index.close()


def _video(record: VideoRecord, segments: int, frames: int) -> list[tuple[str, bytes, bytes]]:
    """All index entries of a video, as commit after commit leaves them."""
    rng = np.random.default_rng(int(record.video_id, 16))
    state = NOTHING_YET
    entries: dict[tuple[str, bytes], bytes] = {}
    for number in range(segments):
        head = _segment(record, number, frames, number == segments - 1, rng)
        state = state.after(head.segment)
        entries |= {(database, key): value for database, key, value in index_puts(head, state)}
        find = partial(_entry, entries)
        for key, value in coarse_values(record, state, number, find):
            entries[DATABASE, key] = value
    return [(database, key, value) for (database, key), value in sorted(entries.items())]


def _entry(entries: dict[tuple[str, bytes], bytes], key: bytes) -> bytes | None:
    return entries.get(("summaries", key))


def _segment(
    record: VideoRecord, number: int, frames: int, final: bool, rng: np.random.Generator
) -> SegmentHead:
    """One segment that keeps KEEP of its frames, the summary block among them."""
    geometry, start = record.geometry, number * frames / FPS
    spans = tuple(BlockSpan(start + i / FPS, start + (i + 1) / FPS, 1) for i in range(frames))
    kept = max(1, round(frames * KEEP)) - 1
    segment = SegmentRecord(
        number=number,
        start=start,
        end=spans[-1].end,
        frames=frames,
        spans=spans,
        kept=(kept,) * geometry.layers,
        summary=True,
        bytes=(kept + 1) * geometry.layers * codec_of(record).block_bytes(geometry),
        final=final,
        notes={},
    )
    blocks = np.append(np.sort(rng.permutation(frames)[:kept]), frames).astype(np.int32)
    sums = rng.integers(0, 1 << 63, (geometry.layers, kept + 1)).astype(np.uint64)
    shape = (geometry.layers, kept + 1, geometry.kv_heads, geometry.head_dim)
    keys = rng.standard_normal(shape, dtype=np.float32).astype(geometry.key_dtype())
    tables = [LayerTable(blocks, sums[i], keys[i]) for i in range(geometry.layers)]
    return SegmentHead(record, segment, tables, plan(record_text(record, segment), record, segment))


def measure(folder: Path, shape: str, questions: int) -> dict[str, object]:
    """Seconds and memory of choosing, first with a cold page cache, then warm."""
    data, (geometry, heads) = folder / FOLDER / DATA, SHAPES[shape]
    with open(data, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begun = time.perf_counter()
    with Store.open(folder) as store:
        opened = time.perf_counter() - begun
        begun = time.perf_counter()
        videos = sorted(store.videos(), key=lambda video: video[0].name)
        listed = time.perf_counter() - begun
        before = _anonymous()
        with peak() as highest:
            begun = time.perf_counter()
            catalog = Catalog(store, videos, exact_frames=0)
            made = time.perf_counter() - begun
            cold, *warm = [choose(catalog, geometry, heads, n) for n in range(questions + 1)]
        bound, size = one_pass(catalog, geometry, heads)
    return {
        "videos": len(videos),
        "segments": sum(state.held for _, state in videos),
        "index_bytes": os.stat(data).st_blocks * 512,
        "key_bytes": size,
        "open_seconds": round(opened, 4),
        "list_seconds": round(listed, 4),
        "catalog_seconds": round(made, 4),
        "cold_seconds": round(cold.wall, 4),
        "warm_seconds": round(min(one.wall for one in warm), 4),
        "warm_cpu_seconds": round(min(one.cpu for one in warm), 4),
        "one_pass_seconds": round(bound.wall, 4),
        "one_pass_cpu_seconds": round(bound.cpu, 4),
        "peak_bytes": highest[0] - before,
    }


@dataclass(frozen=True)
class Clock:
    """Seconds by the clock, and of processor time."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> "Clock":
        """Both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, begun: "Clock") -> "Clock":
        """What has passed."""
        return Clock(self.wall - begun.wall, self.cpu - begun.cpu)

    def plus(self, other: "Clock") -> "Clock":
        """One after the other."""
        return Clock(self.wall + other.wall, self.cpu + other.cpu)


def choose(catalog: Catalog, geometry: Geometry, heads: int, seed: int) -> Clock:
    """Time until every layer's blocks are chosen for a random question of ten tokens."""
    source = torch.Generator().manual_seed(seed)
    method = preset("default")
    begun = Clock.now()
    layers, rankings, scores = [], [], []
    for layer in range(geometry.layers):
        queries = torch.randn(10, heads, geometry.head_dim, generator=source)
        score = partial(method.fetch_scores, queries)
        found, *_ = catalog.candidates(layer, score, method.blocks, 0, method.ranking)
        layers.append(found)
        scores.append(score(found.keys))
        places = torch.from_numpy((found.video << 32) | found.segment)
        rankings.append(method.ranking(scores[-1], places))
    budgets = method.fetch_budgets(scores)
    for found, ranking, budget in zip(layers, rankings, budgets, strict=True):
        assert len(found.refs(top_blocks(ranking, budget))) == budget
    return Clock.now().since(begun)


def one_pass(catalog: Catalog, geometry: Geometry, heads: int) -> tuple[Clock, int]:
    """Time of scoring the same segment keys, a layer at once in memory already, and their bytes."""
    method, total, size = preset("default"), Clock(), 0
    for layer in range(geometry.layers):
        kept: list[torch.Tensor] = []
        catalog.segment_scores(layer, partial(_keep, kept))
        keys = torch.cat(kept)
        queries = torch.randn(10, heads, geometry.head_dim)
        chunks = keys.split(CHUNK)
        begun = Clock.now()
        for chunk in chunks:
            method.fetch_scores(queries, chunk)
        total = total.plus(Clock.now().since(begun))
        size += keys.nbytes
    return total, size


def _keep(kept: list[torch.Tensor], keys: torch.Tensor) -> torch.Tensor:
    kept.append(keys.clone())
    return torch.zeros(len(keys))


@contextmanager
def peak() -> Iterator[list[int]]:
    """Samples the memory allocated by this process; the one number is its highest."""
    highest, done = [_anonymous()], threading.Event()

    def sample() -> None:
        while not done.wait(0.005):
            highest[0] = max(highest[0], _anonymous())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) << 10


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--shape", choices=SHAPES, default="llava-0.5b")
    parser.add_argument("--frames", type=int, default=16, help="of a segment")
    parser.add_argument("--questions", type=int, default=5, help="asked warm")
    parser.add_argument("--folder", help="for the stores; a temporary one without it")
    parser.add_argument("--measure", metavar="STORE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(Path(given.measure), given.shape, given.questions)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as work:
        for hours in given.hours:
            folder = Path(work) / str(hours)
            begun = time.perf_counter()
            build(folder, hours, SHAPES[given.shape][0], given.frames)
            written = time.perf_counter() - begun
            command = [sys.executable, __file__, "--measure", str(folder), "--shape", given.shape]
            command += ["--questions", str(given.questions)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            told = {"shape": given.shape, "hours": hours, "frames_a_segment": given.frames}
            print(json.dumps(told | json.loads(done.stdout) | {"build_seconds": round(written, 1)}))


if __name__ == "__main__":
    main()
