"""The index is derived: it can be lost, and made again from the segment files alone."""

import shutil
from pathlib import Path

import lmdb
import pytest

from store import Store, StoreDamaged, StoreMissing, StoreRefused, rebuild
from tests.store import samples


def _entries(root: Path) -> dict[tuple[bytes, bytes], bytes]:
    """All that the index holds."""
    found = {}
    with lmdb.open(str(root / "index.lmdb"), max_dbs=8, readonly=True, lib_version=0) as env:
        for name in (b"meta", b"videos", b"segments", b"summaries"):
            db = env.open_db(name, create=False)
            with env.begin(db=db) as txn:
                found.update({(name, key): value for key, value in txn.cursor()})
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    samples.fill(tmp_path / "s", 3)
    return samples.fill(tmp_path / "s", 2, samples.OTHER)


def test_the_rebuilt_index_equals_the_original(root: Path) -> None:
    before = _entries(root)
    assert len(before) == 1 + 2 + 5 + 5 * samples.GEOMETRY.layers
    shutil.rmtree(root / "index.lmdb")
    result = rebuild(root)
    assert (result.videos, result.segments, result.damaged) == (2, 5, ())
    assert _entries(root) == before
    assert sorted(entry.name for entry in root.iterdir()) == [
        "index.lmdb",
        "streamkv.json",
        "videos",
    ]


def test_a_garbled_index_is_replaced(root: Path) -> None:
    with Store.open(root) as store:
        expected = samples.digest(store)
    data = root / "index.lmdb" / "data.mdb"
    data.write_bytes(b"\xff" * data.stat().st_size)
    with pytest.raises(StoreDamaged, match="rebuild the index"):
        Store.open(root)
    rebuild(root)
    with Store.open(root) as store:
        assert samples.digest(store) == expected


def test_damage_is_left_out_and_told(root: Path) -> None:
    samples.flip(samples.segment_path(root, 1), 300)
    result = rebuild(root)
    assert (result.videos, result.segments) == (2, 3)
    [error] = result.damaged
    assert (error.video, error.segment) == (samples.VIDEO, 1)
    with Store.open(root) as store:
        assert len(store.segments(samples.VIDEO)) == 1
        assert samples.digest(store)


def test_a_gap_and_a_stranger_are_told(root: Path) -> None:
    samples.segment_path(root, 1).unlink()
    own = samples.segment_path(root, 1, samples.OTHER)
    own.write_bytes(samples.segment_path(root, 2).read_bytes())
    result = rebuild(root)
    assert [str(error).split("; ")[0] for error in result.damaged] == [
        f"segment file {samples.VIDEO}/00000002.safetensors: segment 1 before it is missing",
        f"segment file {samples.OTHER}/00000001.safetensors: it is segment 2 of video "
        f"{samples.VIDEO}",
    ]
    assert (result.videos, result.segments) == (2, 2)


def test_files_of_two_ingests_are_not_joined(root: Path) -> None:
    last = samples.segment_path(root, 2).read_bytes()
    with Store.open(root, write=True) as store:
        store.remove(samples.VIDEO)
        changed = samples.record(profile={"fps": 2})
        with store.writer(changed) as writer:
            samples.commit(writer)
            samples.commit(writer)
    samples.segment_path(root, 2).write_bytes(last)
    [error] = rebuild(root).damaged
    assert "of another ingest: profile.fps is stored as 2, now 0.5" in str(error)


def test_no_rebuild_beside_a_writer(root: Path) -> None:
    with (
        Store.open(root, write=True),
        pytest.raises(StoreRefused, match="being written by another process"),
    ):
        rebuild(root)
    with pytest.raises(StoreMissing):
        rebuild(root / "videos")


def test_strangers_in_the_folder_are_left_alone(root: Path) -> None:
    (root / "videos" / "notes").mkdir()
    (root / "videos" / "README").write_text("mine")
    assert rebuild(root).segments == 5
    with Store.open(root, write=True) as store:
        assert store.prune() == []
    assert (root / "videos" / "README").read_text() == "mine"
