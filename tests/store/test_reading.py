"""Reading in shares: the same blocks, counts and errors, wherever the bytes are."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import store.blocks
import store.disk
from store import BlockRef, Geometry, Store, StoreDamaged
from store.blocks import IOCount
from store.disk import behind, read_cached
from store.threads import in_threads
from streamkv_cli.bench.asking import forget
from tests.store import samples

LARGE = Geometry(layers=1, kv_heads=2, tokens=128, head_dim=64, dtype="float32")
"""Of blocks that are worth several threads: 128 KiB."""
FILES = 8
EACH = 6


@pytest.fixture
def large(tmp_path: Path) -> Path:
    root = tmp_path / "s"
    with (
        Store.open(root, create=True) as opened,
        opened.writer(samples.record(geometry=LARGE)) as writer,
    ):
        for number in range(FILES):
            layers = samples.layers(number, LARGE, [range(EACH)])
            samples.commit(writer, spans=samples.spans(number, EACH - 1), layers=layers)
    return root


def shuffled(opened: Store) -> list[BlockRef]:
    found = opened.summaries(0, [samples.VIDEO])
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(3))
    return found.refs(order.tolist()[:-2])


@pytest.mark.parametrize("state", ["cached", "forgotten", "half", "flagless"])
def test_shares_read_the_same(large: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    whole = in_threads

    def counted(work: Callable[[Any], IOCount], todo: Sequence[Any]) -> list[IOCount]:
        shares.append(len(todo))
        return whole(work, todo)

    monkeypatch.setattr(store.blocks, "in_threads", counted)
    monkeypatch.setattr(store.blocks, "_SHARE", 1 << 20)
    with Store.open(large) as opened:
        refs = shuffled(opened)
        monkeypatch.setattr(store.blocks, "threads_at_most", lambda: 1)
        expected = opened.read_blocks(0, refs)
        before = (opened.io.blocks, opened.io.bytes, opened.io.files, opened.io.runs)
        if state != "cached":
            forget(large)
        if state == "half":  # what is read in part must go on where that ended
            with open(samples.segment_path(large, 3), "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                file.seek(int(refs[0].nbytes * 2.5))
                file.read(4096)
        if state == "flagless":
            monkeypatch.setattr(store.disk, "_NO_WAIT", 0)
        monkeypatch.setattr(store.blocks, "threads_at_most", lambda: 3)
        got = opened.read_blocks(0, refs)
        after = (opened.io.blocks, opened.io.bytes, opened.io.files, opened.io.runs)
    assert shares == [1, 3]
    assert torch.equal(got, expected)
    assert after == tuple(2 * n for n in before)
    assert before[1] == len(refs) * refs[0].nbytes


@pytest.mark.parametrize("number", [0, FILES - 1])
def test_damage_in_any_share_is_named(
    large: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.blocks, "_SHARE", 1 << 20)
    monkeypatch.setattr(store.blocks, "threads_at_most", lambda: 4)
    with Store.open(large) as opened:
        refs = opened.summaries(0, [samples.VIDEO]).refs(range(FILES * EACH))
        bad = next(ref for ref in refs if ref.segment == number)
        path = samples.segment_path(large, number)
        samples.flip(path, bad.offset + 9)
        with pytest.raises(StoreDamaged, match=f"of segment {number} of video .*mismatch"):
            opened.read_blocks(0, refs)
        os.truncate(path, bad.offset + 5)
        with pytest.raises(StoreDamaged, match=f"of segment {number} of video .*cut short"):
            opened.read_blocks(0, refs)
        path.unlink()
        with pytest.raises(StoreDamaged, match=f"of segment {number} of video .*missing"):
            opened.read_blocks(0, refs)


def test_a_failing_share_waits_for_the_others() -> None:
    """Whoever called closes the files then."""
    ended = threading.Event()

    def work(share: int) -> int:
        if share == 0:
            raise OSError("first")
        time.sleep(0.2)
        ended.set()
        return share

    with pytest.raises(OSError, match="first"):
        in_threads(work, [0, 1])
    assert ended.is_set()
    assert in_threads(str, [3, 1, 2]) == ["3", "1", "2"]
    assert in_threads(str, []) == []


def test_threads_after_a_fork() -> None:
    """A child has none of its parent's threads, and must not wait for them."""
    assert in_threads(str, [1, 2]) == ["1", "2"]
    child = os.fork()
    if child == 0:
        os._exit(0 if in_threads(str, [1, 2, 3]) == ["1", "2", "3"] else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_what_is_left_of_buffers() -> None:
    parts = [memoryview(bytearray(n)) for n in (3, 0, 4, 2)]
    assert [len(part) for part in behind(parts, 0)] == [3, 4, 2]
    assert [len(part) for part in behind(parts, 5)] == [2, 2]
    assert behind(parts, 9) == []


def test_the_page_cache_is_asked_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(range(200)) * 100)
    buffer = bytearray(500)
    with open(path, "rb") as file:
        got = read_cached(file.fileno(), [memoryview(buffer)], 200)
        assert bytes(buffer[:got]) == (bytes(range(200)) * 3)[:got]
        assert read_cached(file.fileno(), [memoryview(buffer)], 1 << 30) == 0
    closed = os.open(path, os.O_WRONLY)
    try:
        assert read_cached(closed, [memoryview(buffer)], 0) == 0
    finally:
        os.close(closed)


def test_many_entries_at_once(tmp_path: Path) -> None:
    """More than are looked up at one go; a missing one is told in its place."""
    root = samples.fill(tmp_path / "s", 3)
    with Store.open(root) as opened, opened._index.read() as snapshot:
        keys = list(snapshot.keys("summaries")) * 30
        keys[100] = b"none"
        values = list(snapshot.get_many("summaries", keys))
        assert values == [snapshot.get("summaries", key) for key in keys]
        assert values[100] is None
        assert len(values) == len(keys) > 200
        assert list(snapshot.get_many("nothing", keys[:2])) == [None, None]
