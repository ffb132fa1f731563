"""Coarse entries say what the entries they come from say, or are not there."""

from pathlib import Path

import lmdb
import pytest
import torch

from store import Scan, Store, StoreDamaged, StoreMissing, VideoState, check, coarse, rebuild
from store.entries import seal, unseal
from tests.store import samples

LAYERS = samples.GEOMETRY.layers


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two segments a run, so that a video of three has a whole run and a rest."""
    monkeypatch.setattr(coarse, "RUN", 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    samples.fill(tmp_path / "s", 3)
    return samples.fill(tmp_path / "s", 2, samples.OTHER)


def _change(root: Path, changes: dict[bytes, bytes] | None) -> None:
    """Entries of `coarse` changed behind the store's back; None drops the database."""
    with lmdb.open(str(root / "index.lmdb"), max_dbs=8, map_size=1 << 24, lib_version=0) as env:
        db = env.open_db(b"coarse")
        with env.begin(write=True, db=db) as txn:
            samples.sign(env, txn)
            if changes is None:
                txn.drop(db)
            for key, value in (changes or {}).items():
                assert txn.put(key, value)


def _entries(root: Path) -> dict[bytes, bytes]:
    with (
        lmdb.open(str(root / "index.lmdb"), max_dbs=8, readonly=True, lib_version=0) as env,
        env.begin(db=env.open_db(b"coarse", create=False)) as txn,
    ):
        return {bytes(key): bytes(value) for key, value in txn.cursor()}


def _runs(root: Path, video: str = samples.VIDEO) -> list[int]:
    """Runs of a video that have an entry in its first layer."""
    prefix = b"\0\0" + bytes.fromhex(video)
    return [int.from_bytes(key[-4:], "big") for key in _entries(root) if key.startswith(prefix)]


def _scanned(root: Path, state: VideoState | None = None, chunk: int = 8) -> list[list[float]]:
    """The key of every segment in every layer."""
    with Store.open(root) as store:
        videos = [(record, state or now) for record, now in store.videos()]
        found = []
        for layer in range(LAYERS):
            parts = store.scan_segments(layer, Scan(videos), chunk)
            read = [(part.keys.flatten(1).tolist(), part.rows, part.nbytes) for part in parts]
            found += [key for keys, _, _ in read for key in keys]
            if state is None:
                every = store.summaries(layer, [record.video_id for record, _ in videos])
                assert sum(rows for _, rows, _ in read) == len(every)
                assert sum(size for _, _, size in read) == every.nbytes.sum()
        return found


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_a_scan_is_the_same_with_and_without_them(root: Path, chunk: int) -> None:
    assert len(_entries(root)) == (2 + 1) * LAYERS
    found = _scanned(root, chunk=chunk)
    assert len(found) == 5 * LAYERS
    _change(root, None)
    assert _scanned(root, chunk=chunk) == found


def test_an_index_from_before_there_were_any(root: Path) -> None:
    before = _entries(root)
    with lmdb.open(str(root / "index.lmdb"), max_dbs=8, map_size=1 << 24, lib_version=0) as env:
        db = env.open_db(b"coarse")
        with env.begin(write=True) as txn:
            samples.sign(env, txn)
            txn.drop(db, delete=True)
            assert b"coarse" not in list(txn.cursor().iternext(values=False))
    with Store.open(root) as store:
        assert samples.digest(store)
    assert len(_scanned(root)) == 5 * LAYERS
    assert list(check(root)) == []
    third = "33" * 8
    samples.fill(root, 2, third)  # the first write makes the database
    assert (_runs(root), _runs(root, third)) == ([], [0])
    with Store.open(root, write=True) as store:
        store.remove(third)
    rebuild(root)
    assert _entries(root) == before


def test_a_run_is_there_when_no_segment_can_come_into_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer:
            seen = []
            for number in range(5):
                samples.commit(writer, final=number == 4)
                with store._index.read() as snapshot:
                    keys = list(snapshot.keys("coarse", b"\0\0"))
                seen.append([int.from_bytes(key[-4:], "big") for key in keys])
        assert seen == [[], [0], [0], [0, 1], [0, 1, 2]]
        store.remove(samples.VIDEO)
    assert _entries(tmp_path / "s") == {}


def test_a_gap_has_none_until_it_is_filled(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 5)
    whole = _entries(root)
    for lost in (2, 4):
        samples.segment_path(root, lost).unlink()
    rebuild(root)
    assert _runs(root) == [0]
    assert len(_scanned(root)) == 3 * LAYERS
    with Store.open(root, write=True) as store, store.writer(samples.record()) as writer:
        samples.commit(writer)
        assert writer.next_number == 4
        samples.commit(writer, final=True)
    assert _entries(root) == whole
    assert not [found for found in check(root) if found.kind == "damage"]


def test_what_came_later_is_passed_over(root: Path) -> None:
    with Store.open(root) as store:
        state = store.state(samples.VIDEO)
    early = VideoState(False, 1, 0, 0.0, 8.0, 4)
    whole = _scanned(root)
    per_layer = [whole[5 * layer : 5 * layer + 5] for layer in range(LAYERS)]
    assert _scanned(root, early) == [rows[at] for rows in per_layer for at in (0, 3)]
    assert state.segments == 3


def test_every_flip_is_found(root: Path) -> None:
    entries = _entries(root)
    key, value = sorted(entries.items())[0]
    for at in range(0, len(value), 7):
        bad = bytearray(value)
        bad[at] ^= 4
        _change(root, {key: bytes(bad)})
        with pytest.raises(StoreDamaged, match="coarse entry of the segments from 0 on, layer 0"):
            _scanned(root)
    [found] = check(root)
    assert "coarse entry 0 of layer 0 of walk.mp4" in found.what
    rebuild(root)
    assert _entries(root) == entries


def test_one_that_fits_no_more_is_found(root: Path) -> None:
    entries = sorted(_entries(root).items())
    key, value = entries[0]
    other = bytearray(unseal(key, value))
    other[12] = 9  # the number of its first segment
    _change(root, {key: seal(key, bytes(other))})
    assert [found.layer for found in check(root)] == [0]
    with pytest.raises(StoreDamaged, match="it is not of this run"):
        _scanned(root)
    stranger = b"\0\1" + bytes.fromhex("44" * 8) + b"\0\0\0\0"
    surplus = key[:-1] + b"\7"
    _change(root, {key: value, stranger: b"x", surplus: value})
    texts = sorted(found.what for found in check(root))
    assert texts[0] == "the index has coarse of an unknown video " + "44" * 8
    assert "coarse entry 7" in texts[1]
    assert len(texts) == 2


def test_a_video_that_is_gone_is_missing_not_damaged(root: Path) -> None:
    with Store.open(root) as store:
        videos = store.videos()
    with Store.open(root, write=True) as store:
        store.remove(samples.VIDEO)
        with pytest.raises(StoreMissing, match="removed while it was searched"):
            list(store.scan_segments(0, Scan(videos)))


def test_a_run_of_the_real_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert coarse.RUN == 128
    root = samples.fill(tmp_path / "s", 130)
    assert _runs(root) == [0, 1]
    with Store.open(root) as store:
        every = store.summaries(2, [samples.VIDEO])
        [part] = store.scan_segments(2, Scan(store.videos()))
        assert torch.equal(part.keys, every.keys[torch.from_numpy(every.summary)])
        assert (part.rows, part.nbytes) == (len(every), every.nbytes.sum())
