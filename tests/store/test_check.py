"""`check` finds every fault that can be made, names it, and takes nothing good for damaged."""

import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from store import CODECS, Finding, Store, StoreMissing, check, rebuild
from store.segment_file import read_head
from tests.store import samples
from tests.store.test_crash import WRITE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    samples.fill(tmp_path / "s", 3)
    return samples.fill(tmp_path / "s", 2, samples.OTHER)


def _damage(root: Path, *, read_data: bool = False) -> list[Finding]:
    return [f for f in check(root, read_data=read_data) if f.kind == "damage"]


def _entry(root: Path, database: str, key: bytes, change: Callable[[bytes], bytes | None]) -> None:
    index = str(root / "index.lmdb")
    with lmdb.open(index, max_dbs=8, map_size=1 << 24, lib_version=0) as env:
        db = env.open_db(database.encode(), create=False)
        with env.begin(write=True, db=db) as txn:
            samples.sign(env, txn)
            value = change(txn.get(key) or b"")
            assert txn.delete(key) if value is None else txn.put(key, value)


def test_a_good_store_is_clean(root: Path) -> None:
    told: list[int] = []
    found = check(root, read_data=True, on_segment=lambda _, size: told.append(size))
    assert list(found) == []
    blocks = CODECS["raw"].block_bytes(samples.GEOMETRY) * (3 + 2 + 5)
    assert told == [blocks] * 5


def test_a_flip_in_a_block_is_found_by_reading_only(root: Path) -> None:
    path = samples.segment_path(root, 1)
    picks, good = random.Random(5), path.read_bytes()
    head_end = read_head(path).layout.kv[0]
    for byte in picks.sample(range(head_end, path.stat().st_size), 20):
        samples.flip(path, byte, picks.randrange(8))
        assert _damage(root) == []
        [found] = _damage(root, read_data=True)
        assert (found.video, found.segment) == (samples.VIDEO, 1)
        assert found.layer is not None
        assert "walk.mp4" in found.what
        assert "streamkv repair" in found.remedy
        path.write_bytes(good)


def test_flips_in_heads_cut_and_missing_files(root: Path) -> None:
    path = samples.segment_path(root, 1)
    good = path.read_bytes()
    for bad in (good[:100], b"", good[:-1], good + b"x", bytes([good[0] ^ 1]) + good[1:]):
        path.write_bytes(bad)
        [found] = _damage(root)
        assert (found.video, found.segment) == (samples.VIDEO, 1)
    path.unlink()
    [found] = _damage(root)
    assert "No such file" in found.what
    assert "segment 1 of walk.mp4" in found.what


@pytest.mark.parametrize(
    ("database", "key", "segment", "layer"),
    [
        ("segments", samples.VIDEO + "00000001", 1, None),
        ("summaries", "0002" + samples.OTHER + "00000000", 0, 2),
    ],
)
def test_every_index_entry_is_compared_with_its_file(
    root: Path, database: str, key: str, segment: int, layer: int | None
) -> None:
    kept: list[bytes] = []
    _entry(root, database, bytes.fromhex(key), lambda value: kept.append(value) or value[:-1])
    [found] = _damage(root)
    assert (found.segment, found.layer) == (segment, layer)
    assert "does not read: checksum mismatch" in found.what
    _entry(root, database, bytes.fromhex(key), lambda _: None)
    assert any("is missing" in found.what for found in _damage(root))
    rebuild(root)
    assert list(check(root)) == []


def test_entries_that_belong_to_nothing(root: Path) -> None:
    stranger, surplus = "11" * 8, samples.VIDEO
    _entry(root, "segments", bytes.fromhex(stranger + "00000000"), lambda _: b"x")
    _entry(root, "summaries", bytes.fromhex("0001" + surplus + "00000007"), lambda _: b"x")
    texts = sorted(found.what for found in _damage(root))
    assert texts == [
        "the index has layer 1 of segment 7 of walk.mp4, which it lacks",
        f"the index has segments of an unknown video {stranger}",
    ]


def test_an_unreadable_video_entry_makes_no_orphans(root: Path) -> None:
    _entry(root, "videos", bytes.fromhex(samples.VIDEO), lambda value: value[:-1])
    found = list(check(root))
    assert [(one.kind, one.video) for one in found] == [("damage", samples.VIDEO)]


def test_orphans_and_living_writers_are_no_damage(root: Path) -> None:
    folder = root / "videos" / samples.VIDEO
    (folder / "00000003.safetensors.tmp").write_bytes(b"x")
    (folder / "00000009.safetensors").write_bytes(b"x")
    assert [(one.kind, one.remedy) for one in check(root)] == [
        ("orphan", "streamkv prune deletes it")
    ] * 2
    with Store.open(root, write=True) as store, store.writer(samples.record()):
        pass
    with Store.open(root, write=True) as store:
        writer = store.writer(samples.record())
        text = (
            "import sys; from store import check\n"
            "for one in check(sys.argv[1]): print(one.kind, one.what)\n"
        )
        command = [sys.executable, "-c", text, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        writer.close()
    [line] = done.stdout.splitlines()
    assert line.startswith(f"note walk.mp4 is being written by process {os.getpid()} (")


@pytest.mark.parametrize("how", ["missing", "truncated", "garbled", "of LMDB 1"])
def test_without_an_index_the_files_are_still_checked(root: Path, how: str) -> None:
    data = root / "index.lmdb" / "data.mdb"
    if how == "truncated":
        os.truncate(data, 5000)
    elif how == "garbled":
        data.write_bytes(b"\xff" * data.stat().st_size)
    else:
        data.unlink()
        (root / "index.lmdb" / "lock.mdb").unlink()
    if how == "of LMDB 1":
        try:
            lmdb.open(str(root / "index.lmdb"), lib_version=1).close()
        except lmdb.Error:
            pytest.skip("this build has only one LMDB")
    samples.flip(samples.segment_path(root, 1), 1000)
    index, file = _damage(root)
    assert index.what.startswith("the index ")
    assert "streamkv repair" in index.remedy
    assert (file.video, file.segment) == (samples.VIDEO, 1)
    result = rebuild(root, read_data=True)
    assert (result.videos, result.segments) == (2, 4)
    [gap] = _damage(root)
    assert gap.what == f"walk.mp4 ({samples.VIDEO}) has a gap from 8.0 s to 16.0 s"


def test_a_store_of_format_1(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "fixtures" / "v1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert list(check(tmp_path / "store", read_data=True)) == []
    rebuild(tmp_path / "store")
    assert list(check(tmp_path / "store")) == []


def test_attachments_are_read_too(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store, store.writer(samples.record()) as writer:
        samples.commit(writer, final=True, attachments={"thumbnail.png": b"not quite a picture"})
    samples.flip(samples.segment_path(tmp_path / "s", 0), -1)
    assert _damage(tmp_path / "s") == []
    [found] = _damage(tmp_path / "s", read_data=True)
    assert found.what.startswith("attachment 'thumbnail.png' of segment 0 of video walk.mp4")


def test_changed_tags_are_no_damage(root: Path) -> None:
    with Store.open(root, write=True) as store:
        store.tag(samples.VIDEO, {"place": "harbour"})
    assert list(check(root, read_data=True)) == []
    rebuild(root)
    assert list(check(root, read_data=True)) == []


def test_a_file_that_the_disk_does_not_give_back(root: Path) -> None:
    path = samples.segment_path(root, 1)
    path.unlink()
    path.mkdir()
    [found] = _damage(root)
    assert "Is a directory" in found.what
    assert (found.video, found.segment) == (samples.VIDEO, 1)
    [error] = rebuild(root).damaged
    assert (error.video, error.segment) == (samples.VIDEO, 1)
    assert [one.kind for one in check(root) if one.kind == "damage"] == ["damage"]  # the gap


def test_only_the_videos_asked_for(root: Path) -> None:
    samples.flip(samples.segment_path(root, 1), 1000)
    assert list(check(root, [samples.OTHER])) == []
    assert len(list(check(root, [samples.VIDEO]))) == 1
    with pytest.raises(StoreMissing):
        list(check(root / "videos"))


def test_beside_a_busy_writer_nothing_is_damaged(tmp_path: Path) -> None:
    root = tmp_path / "s"
    Store.open(root, create=True).close()
    command = [sys.executable, "-c", WRITE, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(10):
            assert _damage(root, read_data=True) == []
        child.kill()
