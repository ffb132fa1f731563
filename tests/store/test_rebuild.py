"""The index is derived: it can be lost, and made again from the segment files alone."""

import shutil
from pathlib import Path

import lmdb
import pytest

from store import Gap, Store, StoreDamaged, StoreMissing, StoreRefused, find_gaps, rebuild
from store.index import DATABASES
from tests.store import samples


def _entries(root: Path) -> dict[tuple[bytes, bytes], bytes]:
    """All that the index holds."""
    found = {}
    with lmdb.open(str(root / "index.lmdb"), max_dbs=8, readonly=True, lib_version=0) as env:
        for name in (name.encode() for name in DATABASES):
            db = env.open_db(name, create=False)
            with env.begin(db=db) as txn:
                found.update({(name, key): value for key, value in txn.cursor()})
    del found[b"meta", b"commit"]  # as many as it took
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    samples.fill(tmp_path / "s", 3)
    return samples.fill(tmp_path / "s", 2, samples.OTHER)


def test_the_rebuilt_index_equals_the_original(root: Path) -> None:
    before = _entries(root)
    assert len(before) == 1 + 2 + 5 + (5 + 2) * samples.GEOMETRY.layers
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
    assert (result.videos, result.segments) == (2, 4)
    [error] = result.damaged
    assert (error.video, error.segment) == (samples.VIDEO, 1)
    [unfinished] = result.unfinished
    assert unfinished.gaps == (Gap(1, 1, 8.0, 16.0),)
    with Store.open(root) as store:
        assert [segment.number for segment in store.segments(samples.VIDEO)] == [0, 2]
        assert samples.digest(store)
        assert find_gaps(store.videos()[0][1], store.segments(samples.VIDEO)) == [
            Gap(1, 1, 8.0, 16.0)
        ]
        [aside] = store.orphans()
        assert aside.name == "00000001.safetensors.damaged"


@pytest.mark.parametrize("lost", [[0], [1], [0, 1], [1, 2], [3], [0, 2]])
def test_a_filled_gap_leaves_no_trace(tmp_path: Path, lost: list[int]) -> None:
    """Whatever is lost, once it is written again files and index are those of before."""
    root = samples.fill(tmp_path / "s", 4)
    files = {path.name: path.read_bytes() for path in (root / "videos").glob("*/*")}
    index = _entries(root)
    for number in lost:
        path = samples.segment_path(root, number)
        samples.flip(path, path.stat().st_size - 1)
    assert len(rebuild(root).damaged) == 0  # the heads are whole
    result = rebuild(root, read_data=True)
    assert [error.segment for error in result.damaged] == lost
    with Store.open(root, write=True) as store:
        [(_, state)] = store.videos()
        assert not state.complete
        assert samples.digest(store)
        with store.writer(samples.record()) as writer:
            for number in lost:
                assert writer.next_number == number
                samples.commit(writer, final=number == 3)
        assert store.videos()[0][1].complete
        assert [path.name for path in store.prune()] == [
            f"{number:08d}.safetensors.damaged" for number in lost
        ]
    assert {path.name: path.read_bytes() for path in (root / "videos").glob("*/*")} == files
    assert _entries(root) == index


def test_a_dry_run_changes_nothing(root: Path) -> None:
    samples.flip(samples.segment_path(root, 1), 300)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    result = rebuild(root, dry_run=True)
    assert (result.videos, result.segments, len(result.damaged)) == (2, 4, 1)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_an_unfinished_removal_does_not_come_back(root: Path) -> None:
    """Killed between the index and the files: the index is lost, and made again."""
    folder = root / "videos" / samples.VIDEO
    names = {path.name: path.read_bytes() for path in folder.iterdir()}
    with Store.open(root, write=True) as store:
        store.remove(samples.VIDEO)
    folder.mkdir()
    for name, data in names.items():
        (folder / name).write_bytes(data)
    (folder / "removed").touch()
    assert rebuild(root).videos == 1
    with Store.open(root, write=True) as store:
        assert len(store.prune()) == 4
        assert not folder.exists()


def test_a_gap_and_a_stranger_are_told(root: Path) -> None:
    samples.segment_path(root, 1).unlink()
    own = samples.segment_path(root, 1, samples.OTHER)
    own.write_bytes(samples.segment_path(root, 2).read_bytes())
    result = rebuild(root)
    assert [str(error).split("; ")[0] for error in result.damaged] == [
        f"segment file {samples.OTHER}/00000001.safetensors: it is segment 2 of video "
        f"{samples.VIDEO}",
    ]
    assert (result.videos, result.segments) == (2, 3)
    assert [one.gaps for one in result.unfinished] == [
        (Gap(1, 1, 8.0, 16.0),),
        (Gap(1, None, 8.0, None),),
    ]


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
