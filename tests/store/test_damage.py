"""Every flipped bit, every cut file: an error that names the place, never wrong KV, no crash."""

import os
import random
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from store import Store, StoreDamaged, StoreError
from store.segment_file import read_head
from tests.store import samples


def test_every_byte_of_a_segment_file_is_protected(tmp_path: Path) -> None:
    """Head by its checksum, blocks by theirs; whichever reader touches it finds it."""
    store_path = samples.fill(tmp_path / "s", 1)
    path = samples.segment_path(store_path, 0)
    good = path.read_bytes()
    head_end = read_head(path).layout.kv[0]
    assert head_end % 512 == 0
    with Store.open(store_path) as store:
        expected = samples.digest(store)
        picks = random.Random(1)
        for byte in sorted(picks.sample(range(len(good)), 400)):
            samples.flip(path, byte, picks.randrange(8))
            if byte < head_end:
                with pytest.raises(StoreDamaged) as caught:
                    read_head(path)
                assert samples.digest(store) == expected
            else:
                with pytest.raises(StoreDamaged, match="checksum mismatch") as caught:
                    samples.digest(store)
                assert caught.value.layer is not None
            assert (caught.value.video, caught.value.segment) == (samples.VIDEO, 0)
            assert caught.value.remedy
            path.write_bytes(good)


def test_a_damaged_block_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    with Store.open(store_path) as store:
        found = store.summaries(0, [samples.VIDEO])
        samples.flip(samples.segment_path(store_path, 0), int(found.offset[1]) + 3)
        assert len(store.read_blocks(0, found.refs([0, 2, 3]))) == 3
        with pytest.raises(StoreDamaged, match="block 2 in layer 0 of segment 0 of video"):
            store.read_blocks(0, found.refs([0, 1, 2]))


@pytest.mark.parametrize("kept", [0, 7, 8, 500, -1])
def test_a_truncated_segment_file(tmp_path: Path, kept: int) -> None:
    store_path = samples.fill(tmp_path / "s", 1)
    path = samples.segment_path(store_path, 0)
    os.truncate(path, kept if kept >= 0 else path.stat().st_size + kept)
    with pytest.raises(StoreDamaged):
        read_head(path)
    with Store.open(store_path) as store:
        found = store.summaries(2, [samples.VIDEO])
        with pytest.raises(StoreDamaged, match="cut short"):
            store.read_blocks(2, found.refs(range(len(found))))


def test_a_missing_segment_file(tmp_path: Path) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    samples.segment_path(store_path, 1).unlink()
    with Store.open(store_path) as store:
        found = store.summaries(0, [samples.VIDEO])
        assert len(store.read_blocks(0, found.refs([0, 1]))) == 2
        with pytest.raises(StoreDamaged, match=r"segment 1 .*file is missing"):
            store.read_blocks(0, found.refs([3]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'\\"tokens\\":5', b'\\"tokens\\":9999999999999'),
        (b'\\"layers\\":3', b'\\"layers\\":60000'),
        (b'\\"kept\\":[2,1,4]', b'\\"kept\\":[2,1,1000000000000]'),
        (b'"shape":[3,2,2,5,4]', b'"shape":[3000000000000,2,2,5,4]'),
        (b'\\"format\\":2', b'\\"format\\":7'),
        (b'\\"frames\\":4', b'\\"frames\\":-4'),
        (b'{"__metadata__"', b"[" * 50_000),
    ],
)
def test_a_header_that_claims_too_much(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = samples.segment_path(samples.fill(tmp_path / "s", 1), 0)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size]
    assert old in header
    header = header.replace(old, new, 1)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    with pytest.raises(StoreDamaged):
        read_head(path)


def test_a_header_length_beyond_the_file(tmp_path: Path) -> None:
    path = samples.segment_path(samples.fill(tmp_path / "s", 1), 0)
    data = path.read_bytes()
    path.write_bytes((1 << 62).to_bytes(8, "little") + data[8:])
    with pytest.raises(StoreDamaged, match="claims a header"):
        read_head(path)


@pytest.mark.parametrize("database", ["videos", "segments", "summaries"])
def test_every_flip_of_an_index_value_is_found(tmp_path: Path, database: str) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    env = lmdb.open(str(store_path / "index.lmdb"), max_dbs=8, map_size=1 << 24, lib_version=0)
    db = env.open_db(database.encode(), create=False)
    with env.begin(db=db) as txn:
        entries = list(txn.cursor())
    env.close()
    picks = random.Random(2)
    for key, value in entries[:3]:
        for _ in range(15):
            bad = bytearray(value)
            bad[picks.randrange(len(bad))] ^= 1 << picks.randrange(8)
            _put(store_path, database, key, bytes(bad))
            with Store.open(store_path) as store, pytest.raises(StoreDamaged):
                samples.digest(store)
        _put(store_path, database, key, value)
    with Store.open(store_path) as store:
        assert samples.digest(store)


def _put(store_path: Path, database: str, key: bytes, value: bytes = b"") -> None:
    env = lmdb.open(
        str(store_path / "index.lmdb"), max_dbs=8, map_size=1 << 24, lib_version=0, sync=False
    )
    db = env.open_db(database.encode(), create=False)
    with env.begin(write=True, db=db) as txn:
        samples.sign(env, txn)
        assert txn.put(key, value) if value else txn.delete(key)
    env.close()


@pytest.mark.parametrize("database", ["segments", "summaries"])
def test_a_missing_index_entry_is_found(tmp_path: Path, database: str) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    layer = b"\0\0" if database == "summaries" else b""
    _put(store_path, database, layer + bytes.fromhex(samples.VIDEO) + b"\0\0\0\1")
    with Store.open(store_path) as store, pytest.raises(StoreDamaged, match="1 of 2 segments"):
        samples.digest(store)


def test_an_entry_cannot_pass_for_another(tmp_path: Path) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    env = lmdb.open(str(store_path / "index.lmdb"), max_dbs=8, map_size=1 << 24, lib_version=0)
    db = env.open_db(b"summaries", create=False)
    key = b"\0\0" + bytes.fromhex(samples.VIDEO) + b"\0\0\0"
    with env.begin(write=True, db=db) as txn:
        samples.sign(env, txn)
        first = txn.get(key + b"\0")
        assert first
        txn.put(key + b"\1", first)
    env.close()
    with Store.open(store_path) as store, pytest.raises(StoreDamaged, match="checksum mismatch"):
        store.summaries(0, [samples.VIDEO])


FLIP_AND_READ = """
import random, sys
from pathlib import Path
from store import Store, StoreError
from tests.store import samples
store, expected, picks = Path(sys.argv[1]), sys.argv[2], random.Random(3)
data = store / "index.lmdb" / "data.mdb"
good = data.read_bytes()
used = [i for i, byte in enumerate(good) if byte]
found = 0
for _ in range(250):
    bad = bytearray(good)
    bad[picks.choice(used)] ^= 1 << picks.randrange(8)
    data.write_bytes(bad)
    try:
        with Store.open(store) as opened:
            assert samples.digest(opened) == expected
    except StoreError:
        found += 1
print(found)
"""


def test_flips_of_the_index_file_never_crash_and_never_lie(tmp_path: Path) -> None:
    """LMDB itself would be killed by some of these; a child takes them, to be sure."""
    store_path = samples.fill(tmp_path / "s", 3)
    with Store.open(store_path) as store:
        expected = samples.digest(store)
    command = [sys.executable, "-c", FLIP_AND_READ, str(store_path), expected]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50  # the others hit pages that are no longer in use


def test_an_old_state_does_not_come_back(tmp_path: Path) -> None:
    """LMDB takes the meta page with the higher number: a flip there would undo a commit."""
    store_path = samples.fill(tmp_path / "s", 3)
    data = store_path / "index.lmdb" / "data.mdb"
    for meta in (0, 4096):
        for bit in range(64):
            samples.flip(data, meta + 144 + bit // 8, bit % 8)
            with pytest.raises(StoreDamaged, match="the index is damaged"):
                Store.open(store_path)
            samples.flip(data, meta + 144 + bit // 8, bit % 8)
    Store.open(store_path).close()


def test_a_note_of_the_last_commit_that_does_not_read_is_no_damage(tmp_path: Path) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    note = store_path / "index.lmdb" / "commits"
    for bad in (b"", b"\xff" * 16, note.read_bytes()[:15]):
        note.write_bytes(bad)
        Store.open(store_path).close()
    note.unlink()
    Store.open(store_path).close()


def test_an_older_index_in_the_place_of_the_last(tmp_path: Path) -> None:
    store_path = samples.fill(tmp_path / "s", 2)
    data = store_path / "index.lmdb" / "data.mdb"
    older = data.read_bytes()
    with Store.open(store_path, write=True) as store:
        store.remove(samples.VIDEO)
    data.write_bytes(older)
    with pytest.raises(StoreDamaged, match=r"commit \d+ is gone, the last one is \d+"):
        Store.open(store_path)


def test_an_index_of_the_other_lmdb_format(tmp_path: Path) -> None:
    store_path = samples.fill(tmp_path / "s", 1)
    for path in (store_path / "index.lmdb").iterdir():
        path.unlink()
    try:
        lmdb.open(str(store_path / "index.lmdb"), lib_version=1).close()
    except lmdb.Error:
        pytest.skip("this build has only one LMDB")
    with pytest.raises(StoreDamaged, match=r"not an LMDB 0\.9 file"):
        Store.open(store_path)


def test_every_error_is_one_line() -> None:
    error = StoreError("what\nhappened", "a way\nout")
    assert str(error) == "what happened; a way out"
    assert str(StoreDamaged("what")) == "what"
