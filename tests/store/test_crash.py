"""Killed writers and concurrent readers: whole segments, or nothing."""

import multiprocessing
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from store import Store
from tests.store import samples

WRITE = """
import sys
from store import Store
from tests.store import samples
with Store.open(sys.argv[1], write=True) as store, store.writer(samples.record()) as writer:
    print("ready", flush=True)
    for _ in range(10_000):
        samples.commit(writer)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_segments(tmp_path: Path) -> None:
    root = tmp_path / "s"
    Store.open(root, create=True).close()
    picks, seen = random.Random(4), 0
    for _ in range(4):
        command = [sys.executable, "-c", WRITE, str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(picks.uniform(0.03, 0.3))
            child.send_signal(signal.SIGKILL)
        with Store.open(root) as store:
            seen = _check(store, seen)
    with Store.open(root, write=True) as store:
        with store.writer(samples.record()) as writer:
            assert writer.next_number == seen
            samples.commit(writer, final=True)
        assert _check(store, seen) == seen + 1
        assert store.orphans() == []
    names = {entry.name for entry in (root / "videos" / samples.VIDEO).iterdir()}
    assert names == {f"{number:08d}.safetensors" for number in range(seen + 1)}


def _check(store: Store, least: int) -> int:
    """Everything indexed is there and right; returns how many segments that is."""
    videos = store.videos()
    if not videos:
        assert least == 0
        return 0
    count = videos[0][1].segments
    assert count >= least
    assert [segment.number for segment in store.segments(samples.VIDEO)] == list(range(count))
    for layer in range(samples.GEOMETRY.layers):
        found = store.summaries(layer, [samples.VIDEO])
        written = [samples.layers(number)[layer] for number in range(count)]
        assert torch.equal(found.keys, torch.cat([one.keys for one in written]).half())
        got = store.read_blocks(layer, found.refs(range(len(found))))
        assert torch.equal(got, torch.cat([one.kv for one in written]))
    return count


def _read_while_written(path: str, results: "multiprocessing.Queue[object]") -> None:
    seen: list[int] = []
    try:
        with Store.open(path) as store:
            results.put("open")
            while not seen or seen[-1] < 40:
                state = store.videos()[0][1]
                found = store.summaries(0, [samples.VIDEO])
                count = int(found.segment[-1]) + 1
                assert len(found) == 3 * count
                assert count >= state.segments
                blocks = store.read_blocks(0, found.refs(range(len(found))[-3:]))
                assert torch.equal(blocks, samples.layers(count - 1)[0].kv)
                segments = store.segments(samples.VIDEO)
                assert len(segments) >= count
                seen.append(count)
        results.put(seen)
    except BaseException as error:
        results.put(repr(error))


def test_a_reader_beside_a_writer_sees_whole_segments_only(tmp_path: Path) -> None:
    root = tmp_path / "s"
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[object] = spawn.Queue()
    with Store.open(root, create=True) as store, store.writer(samples.record()) as writer:
        samples.commit(writer)
        reader = spawn.Process(target=_read_while_written, args=(str(root), results))
        reader.start()
        assert results.get(timeout=60) == "open"
        for _ in range(39):
            samples.commit(writer)
        seen = results.get(timeout=60)
        reader.join()
    assert isinstance(seen, list), seen
    assert seen == sorted(seen)
    assert seen[-1] == 40
    assert len(set(seen)) > 1  # it really read while the video grew


def test_opening_beside_a_busy_writer(tmp_path: Path) -> None:
    """The index is checked before it is opened, also while its pages are being reused."""
    root = tmp_path / "s"
    Store.open(root, create=True).close()
    command = [sys.executable, "-c", WRITE, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(40):
            with Store.open(root) as store:
                store.videos()
        child.kill()
