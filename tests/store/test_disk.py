"""Disk full, quotas, limits: one clear error, the store whole, the ingest resumable."""

import os
import random
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from store import Store
from store.disk import network_file_system
from store.index import Index
from store.index_check import check_size
from tests.store import samples

LIMITED = """
import resource, signal, sys
from store import Store, StoreDiskError
from tests.store import samples
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
with Store.open(sys.argv[1], write=True) as store:
    with store.writer(samples.record()) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        done = 0
        try:
            while True:
                samples.commit(writer)
                done += 1
        except StoreDiskError as error:
            print(error)
        try:
            samples.commit(writer)
        except StoreDiskError as error:
            print(error)
    samples.digest(store)
    print(writer.next_number == store.videos()[0][1].segments == 1 + done)
"""


@pytest.mark.parametrize("limit", [0, 3000, 800_000])
def test_a_failed_write_changes_nothing(tmp_path: Path, limit: int) -> None:
    """The limit stops the segment file when small, the index when larger."""
    root = samples.fill(tmp_path / "s", 1)
    with Store.open(root, write=True) as store:
        store.remove(samples.VIDEO)
        with store.writer(samples.record()) as writer:
            samples.commit(writer)
    command = [sys.executable, "-c", LIMITED, str(root), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, whole = done.stdout.splitlines()
    assert first.startswith("File too large: ")
    assert str(root) in first
    assert second.startswith("an earlier write failed")
    assert whole == "True"
    with Store.open(root, write=True) as store:
        with store.writer(samples.record()) as writer:
            samples.commit(writer, final=True)
        assert samples.digest(store)
        assert store.orphans() == []


FULL = """
import os, subprocess, sys
from store import Store, StoreDiskError
from tests.store import samples
place = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
with Store.open(place, create=True) as store, store.writer(samples.record()) as writer:
    try:
        while True:
            samples.commit(writer)
    except StoreDiskError as error:
        print(error)
with Store.open(place) as store:
    samples.digest(store)
    print(store.videos()[0][1].segments)
subprocess.run(["mount", "-o", "remount,size=4m", place], check=True)
with Store.open(place, create=True) as store:
    with store.writer(samples.record()) as writer:
        samples.commit(writer, final=True)
    samples.digest(store)
    print(store.videos()[0][1].segments, store.orphans())
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
with Store.open(place) as store:
    samples.digest(store)
try:
    Store.open(place, write=True)
except StoreDiskError as error:
    print(error)
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """A real file system of one megabyte, in a mount namespace of its own."""
    alone = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespaces here")
    command = [*alone, sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    full, before, after, read_only = done.stdout.splitlines()
    assert full.startswith("No space left on device: ")
    assert full.endswith("free space on that disk, then run again")
    assert int(before) > 1
    assert after == f"{int(before) + 1} []"
    assert read_only.startswith("Read-only file system: ")


def test_the_index_file_is_never_shorter_than_its_count(tmp_path: Path) -> None:
    """LMDB alone sometimes leaves it so; then a truncated file could not be told."""
    index = Index(tmp_path / "index", write=True, create=True)
    picks = random.Random(0)
    for _ in range(150):
        keys = picks.sample(range(300), picks.randrange(1, 40))
        puts = [
            ("segments", b"%d" % key, os.urandom(picks.choice([10, 100, 3000, 20000])))
            for key in keys[::2]
        ]
        index.write(puts, [("segments", b"%d" % key) for key in keys[1::2]])
        check_size(tmp_path / "index" / "data.mdb")
    index.close()
    Index(tmp_path / "index", write=False).close()


def test_a_full_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.index._MAP_SIZE", 1 << 16)
    index = Index(tmp_path / "index", write=True, create=True)
    for number in range(8):
        index.write([("segments", b"%d" % number, bytes(50_000))])
    with index.read() as snapshot:
        assert len(list(snapshot.scan("segments"))) == 8
    index.close()


def test_a_map_that_another_process_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = samples.fill(tmp_path / "s", 1)
    monkeypatch.setattr("store.index._MAP_SIZE", 1 << 19)
    more = (
        "import sys; from store import Store; from tests.store import samples\n"
        "with Store.open(sys.argv[1], write=True) as s, s.writer(samples.record('ab' * 8)) as w:\n"
        "    for _ in range(200): samples.commit(w)\n"
    )
    with Store.open(root) as store:
        subprocess.run([sys.executable, "-c", more, str(root)], check=True)
        assert (root / "index.lmdb" / "data.mdb").stat().st_size > 1 << 19
        assert store.videos()[1][1].segments == 200


def test_little_address_space_is_enough(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 1)
    code = (
        "import resource, sys, torch; from store import Store; from tests.store import samples\n"
        "resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))\n"
        "with Store.open(sys.argv[1], write=True) as s: print(samples.digest(s))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True)
    with Store.open(root) as store:
        assert done.stdout.strip() == samples.digest(store), done.stderr


def test_lmdb_flushes_and_keeps_the_old_format(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", write=True, create=True)
    flags = index._env.flags()
    assert (flags["sync"], flags["metasync"], flags["writemap"]) == (True, True, False)
    assert index._env.lib_version()[:2] == (0, 9)
    index.close()
    with lmdb.open(str(tmp_path / "index"), readonly=True, max_dbs=8, lib_version=0) as env:
        assert env.stat()["entries"] == 5


def test_local_file_systems_are_taken_for_such(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) == ""


def resident(path: Path) -> int:
    """Bytes of a file's map that count as this process's memory."""
    size, mine = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef":
            mine = line.endswith(str(path))
        elif mine and line.startswith("Rss:"):
            size += int(line.split()[1]) << 10
    return size


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the kernel does not tell")
def test_an_index_that_is_written_for_long_does_not_stay_in_memory(tmp_path: Path) -> None:
    """Keys begin with the layer: every commit looks at a page of each, all over the file."""
    (folder := tmp_path / "index").mkdir()
    index = Index(folder, write=True, create=True)
    try:
        for number in range(140):
            keys = [layer.to_bytes(2, "big") + number.to_bytes(4, "big") for layer in range(60)]
            index.write([("summaries", key, key * 250) for key in keys])
        size = (folder / "data.mdb").stat().st_size
        assert resident(folder / "data.mdb") < size / 2 > 8 << 20
        with index.read() as snapshot:
            assert len(list(snapshot.keys("summaries"))) == 140 * 60
            for _ in range(64):  # no map is taken from under a reader
                index.write([("summaries", b"another", b"1")])
            assert snapshot.get("summaries", keys[0]) == keys[0] * 250
    finally:
        index.close()
