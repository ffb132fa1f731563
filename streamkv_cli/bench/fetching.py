"""Fetch: chosen blocks by the store, by safetensors, and as raw bytes."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from store import BlockRef, Store
from streamkv_cli.bench.figure import Figure, turns


@dataclass(frozen=True)
class Ranges:
    """Chosen blocks of one video, layer by layer.

    Attributes:
        files: the folder of its segment files.
        refs: of each layer.
        tokens: of a block.
    """

    files: Path
    refs: list[list[BlockRef]]
    tokens: int

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(ref.nbytes for layer in self.refs for ref in layer)


def ranges_of(store: Store, video_id: str, blocks: int) -> Ranges:
    """Evenly spread `blocks` blocks a layer, as a question that concerns the whole video takes."""
    record, _ = next(found for found in store.videos() if found[0].video_id == video_id)
    chosen = []
    for layer in range(record.geometry.layers):
        summaries = store.summaries(layer, [video_id])
        total = len(summaries.block)
        step = max(1.0, total / blocks)
        rows = sorted({int(i * step) for i in range(min(blocks, total))})
        chosen.append(summaries.refs(rows))
    return Ranges(store.folder(video_id), chosen, record.geometry.tokens)


def fetch(store: Store, ranges: Ranges) -> None:
    """As `ask` does it: verified and decoded."""
    for layer, refs in enumerate(ranges.refs):
        store.read_blocks(layer, refs)


def slice_all(ranges: Ranges) -> None:
    """One thread, safetensors' own slices; nothing is verified or decoded."""
    for layer, refs in enumerate(ranges.refs):
        for path, mine in _by_file(ranges, refs):
            with safe_open(path, framework="pt") as file:
                tensor = file.get_slice(f"layer.{layer:03d}.kv")
                torch.cat([tensor[ref.row : ref.row + 1] for ref in mine])


class RawReads:
    """The same bytes by parallel pread into one reused buffer; neighbours in one call."""

    def __init__(self, ranges: Ranges) -> None:
        most = max(sum(ref.nbytes for ref in refs) for refs in ranges.refs)
        buffer = memoryview(bytearray(most))
        self._layers = [_jobs(ranges, refs, buffer) for refs in ranges.refs]
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def read(self) -> None:
        """Read all layers, one after the other."""
        for jobs in self._layers:
            list(self._pool.map(_pread, jobs))


def _jobs(
    ranges: Ranges, refs: Sequence[BlockRef], buffer: memoryview
) -> list[tuple[Path, list[tuple[int, memoryview]]]]:
    """Of each file, (offset, where to) of each run of neighbours."""
    at, jobs = 0, []
    for path, mine in _by_file(ranges, refs):
        runs: list[tuple[int, memoryview]] = []
        while mine:
            first, count = mine[0], 1
            while count < len(mine) and mine[count].offset == first.offset + count * first.nbytes:
                count += 1
            size = count * first.nbytes
            runs.append((first.offset, buffer[at : at + size]))
            at, mine = at + size, mine[count:]
        jobs.append((path, runs))
    return jobs


def _pread(job: tuple[Path, list[tuple[int, memoryview]]]) -> None:
    path, runs = job
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset, into in runs:
            os.preadv(fd, [into], offset)
    finally:
        os.close(fd)


def measure_fetch(
    store: Store, ranges: Ranges, rounds: int, before: Callable[[], None], name: str
) -> Figure:
    """Seconds to fetch the ranges; `before` is called before each of the three."""

    def timed(work: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            before()
            begun = time.perf_counter()
            work()
            return time.perf_counter() - begun

        return run

    raw = RawReads(ranges)
    taken = turns(
        rounds,
        ours=timed(lambda: fetch(store, ranges)),
        peer=timed(lambda: slice_all(ranges)),
        bound=timed(raw.read),
    )
    return Figure(
        name,
        "s",
        taken["ours"],
        taken["peer"],
        taken["bound"],
        peer_is="safetensors slices, one thread, unverified",
        bound_is="raw parallel pread of the same ranges",
        notes={
            "bytes": ranges.nbytes,
            "blocks": sum(map(len, ranges.refs)),
            "files": len({ref.segment for layer in ranges.refs for ref in layer}),
        },
    )


def _by_file(ranges: Ranges, refs: Sequence[BlockRef]) -> list[tuple[Path, list[BlockRef]]]:
    files: dict[int, list[BlockRef]] = {}
    for ref in refs:
        files.setdefault(ref.segment, []).append(ref)
    return [(ranges.files / f"{segment:08d}.safetensors", mine) for segment, mine in files.items()]
