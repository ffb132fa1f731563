"""One key a segment: a scan sees just what reading everything sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from store import Scan, Store, StoreDamaged, StoreMissing
from store.state import NOTHING_YET
from tests.store import samples


def scanned(store: Store, layer: int, videos: list[str], counts: list[int], chunk: int) -> tuple:
    """First places, keys and rows of all chunks; the keys are copied, as the buffer is reused."""
    records = [found[0] for video in videos if (found := store.find(video))]
    states = [replace(NOTHING_YET, segments=count) for count in counts]
    chunks = [
        (c.first, c.keys.clone(), c.rows)
        for c in store.scan_segments(layer, Scan(list(zip(records, states, strict=True))), chunk)
    ]
    return (
        [first for first, _, _ in chunks],
        torch.cat([keys for _, keys, _ in chunks]),
        sum(rows for _, _, rows in chunks),
    )


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_scan_gives_the_summary_blocks_of_all_segments(tmp_path: Path, chunk: int) -> None:
    samples.fill(tmp_path, 3)
    samples.fill(tmp_path, 2, samples.OTHER)
    both = [samples.OTHER, samples.VIDEO]
    with Store.open(tmp_path) as store:
        for layer in range(samples.GEOMETRY.layers):
            every = store.summaries(layer, both)
            firsts, keys, rows = scanned(store, layer, both, [2, 3], chunk)
            assert firsts == ([0] if chunk > 2 else [0, 2])  # a video's run is not divided
            assert torch.equal(keys, every.keys[torch.from_numpy(every.summary)])
            assert rows == len(every)
            _, fewer, _ = scanned(store, layer, both, [1, 2], chunk)
            assert torch.equal(fewer, keys[[0, 2, 3]])


def test_a_segment_without_a_summary_block_gives_its_mean_key(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path, create=True) as store,
        store.writer(samples.record()) as writer,
    ):
        chosen = samples.layers(0, chosen=((0, 2), (1,), (0, 1, 2, 3)))
        samples.commit(writer, layers=chosen, summary=False, final=True)
        for layer in range(3):
            _, keys, rows = scanned(store, layer, [samples.VIDEO], [1], 4)
            every = store.summaries(layer, [samples.VIDEO])
            expected = every.keys.float().mean(dim=0)
            assert torch.allclose(keys[0].float(), expected, atol=1e-3)
            assert rows == len(every)


def test_some_segments_are_read_by_themselves(tmp_path: Path) -> None:
    samples.fill(tmp_path, 3)
    with Store.open(tmp_path) as store:
        every = store.summaries(1, [samples.VIDEO])
        some = store.summaries(1, [samples.VIDEO], {samples.VIDEO: [0, 2]})
        wanted = np.isin(every.segment, [0, 2])
        assert some.segment.tolist() == every.segment[wanted].tolist()
        assert torch.equal(some.keys, every.keys[torch.from_numpy(wanted)])
        assert some.ref(0) == every.ref(0)
        assert store.segment(samples.VIDEO, 2) == store.segments(samples.VIDEO)[2]
        with pytest.raises(StoreDamaged, match="segment 7"):
            store.summaries(1, [samples.VIDEO], {samples.VIDEO: [7]})
        with pytest.raises(StoreMissing, match="segment 7"):
            store.segment(samples.VIDEO, 7)
        with pytest.raises(StoreMissing):
            store.segment(samples.OTHER, 0)


def test_a_scan_finds_what_is_missing_and_what_is_damaged(tmp_path: Path) -> None:
    samples.fill(tmp_path, 3)
    with Store.open(tmp_path) as store:
        with pytest.raises(StoreDamaged, match="3 of 4 segments"):
            scanned(store, 0, [samples.VIDEO], [4], 2)
        with store._index.read() as snapshot:
            (_, value), *_ = snapshot.scan("summaries", b"\0\1")
            pattern = bytes(value)
    index = tmp_path / "index.lmdb" / "data.mdb"
    content = bytearray(index.read_bytes())
    # The first key in segment 0 of layer 1, one of several that the scan itself does not need.
    for at in [i for i in range(len(content)) if content.startswith(pattern[:80], i)]:
        content[at + 70] ^= 1
    index.write_bytes(content)
    with (
        Store.open(tmp_path) as store,
        pytest.raises(StoreDamaged, match="segment 0, layer 1"),
    ):
        scanned(store, 1, [samples.VIDEO], [3], 2)
