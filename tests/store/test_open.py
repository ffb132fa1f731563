"""Opening what is a store, and what is none: every refusal says what and what to do."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from store import Store, StoreDamaged, StoreDiskError, StoreMissing, StoreRefused
from store.index_check import check_size
from tests.store import samples


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="nothing there"):
        Store.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear")
    with pytest.raises(StoreMissing, match="no store there"):
        Store.open(tmp_path)
    with pytest.raises(StoreRefused, match="neither empty nor a store"):
        Store.open(tmp_path, create=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["diary.txt"]


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(StoreMissing, match="no store there"):
        Store.open(tmp_path / "file")
    with pytest.raises(StoreDiskError):
        Store.open(tmp_path / "file", create=True)


def test_an_empty_folder_becomes_a_store(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        assert store.videos() == []
    with Store.open(tmp_path) as store:
        assert store.videos() == []
        with pytest.raises(StoreMissing, match="no video"):
            store.segments(samples.VIDEO)
        with pytest.raises(StoreMissing, match="no video"):
            store.summaries(0, [samples.VIDEO])


def test_a_creation_cut_short_is_taken_up(tmp_path: Path) -> None:
    Store.open(tmp_path, create=True).close()
    (tmp_path / "streamkv.json").unlink()
    with Store.open(tmp_path, create=True) as store:
        assert store.videos() == []


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    (tmp_path / "s" / "streamkv.json").write_text(json.dumps({"format": 3}))
    with pytest.raises(StoreRefused, match="format 3, this program reads formats 1 and 2"):
        Store.open(tmp_path / "s")


def test_every_flip_of_the_marker_is_found(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    marker = tmp_path / "s" / "streamkv.json"
    assert json.loads(marker.read_text()) == {"format": 2}
    for bit in range(8 * marker.stat().st_size):
        samples.flip(marker, bit // 8, bit % 8)
        with pytest.raises((StoreDamaged, StoreRefused)):
            Store.open(tmp_path / "s")
        samples.flip(marker, bit // 8, bit % 8)


def test_a_missing_index_is_damage_and_never_made_new(tmp_path: Path) -> None:
    store = samples.fill(tmp_path / "s", 1)
    (store / "index.lmdb" / "data.mdb").unlink()
    for write in (False, True):
        with pytest.raises(StoreDamaged, match="index is missing"):
            Store.open(store, write=write, create=write)


@pytest.mark.parametrize("size", [0, 100, 4096, 8192, -4096])
def test_a_truncated_index_is_damage(tmp_path: Path, size: int) -> None:
    store = samples.fill(tmp_path / "s", 30)
    data = store / "index.lmdb" / "data.mdb"
    used = 4096 * (_last_page(data) + 1)
    os.truncate(data, size if size >= 0 else used + size)
    with pytest.raises(StoreDamaged, match="cut short"):
        check_size(data)
    with pytest.raises(StoreDamaged, match="cut short"):
        Store.open(store)


def _last_page(data: Path) -> int:
    raw = data.read_bytes()
    metas = [raw[at + 136 : at + 152] for at in (0, 4096)]
    newest = max(metas, key=lambda meta: int.from_bytes(meta[8:], "little"))
    return int.from_bytes(newest[:8], "little")


def test_opened_twice_in_one_process(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    with (
        Store.open(tmp_path / "s"),
        pytest.raises(StoreRefused, match="already open in this process"),
    ):
        Store.open(tmp_path / "s")
    Store.open(tmp_path / "s").close()


def test_writing_needs_a_store_open_for_writing(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    with Store.open(tmp_path / "s") as store:
        with pytest.raises(ValueError, match="reading only"):
            store.remove(samples.VIDEO)
        with pytest.raises(ValueError, match="reading only"):
            store.writer(samples.record())


def test_video_ids_never_become_other_paths(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    with Store.open(tmp_path / "s", write=True) as store:
        for video_id in ("../../etc/passwd", "", "0123456789ABCDEF", "0123456789abcdef\n"):
            with pytest.raises(ValueError, match="16 lower-case hex"):
                store.remove(video_id)
            with pytest.raises(ValueError, match="16 lower-case hex"):
                samples.record(video_id)


def test_listing_needs_no_torch(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    code = (
        "import sys; from store import Store\n"
        "with Store.open(sys.argv[1], write=True) as s:\n"
        "    [(v, _)] = s.videos(); s.segments(v.video_id); s.remove(v.video_id)\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=True)
    with Store.open(tmp_path / "s") as store:
        assert store.videos() == []


READ_ALL = (
    "import os, sys, torch; from tests.store import samples; from store import Store, StoreError\n"
    "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    "try:\n"
    "    with Store.open(sys.argv[1]) as s: print(samples.digest(s), bool(s.unlocked))\n"
    "except StoreError as error: print(error.kind, error)\n"
)


def _as_nobody(path: Path) -> str:
    """What a process without permission to write sees of the store."""
    command = [sys.executable, "-c", READ_ALL, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_reading_needs_no_permission_to_write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = samples.fill(Path(folder) / "s", 2)
        with Store.open(store) as opened:
            expected = samples.digest(opened)
        inside = [store, *store.rglob("*")]
        for path in inside:
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert _as_nobody(store).split() == [expected, "True"]
        samples.segment_path(store, 0).chmod(0)
        assert _as_nobody(store).startswith("disk Permission denied")
        for path in inside:
            path.chmod(0o755)


CUT_WHILE_OPEN = """
import os, sys
from store import Store, StoreError
from tests.store import samples
root, file, size, doing = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
with Store.open(root, write=doing == "write") as store:
    samples.digest(store)
    if doing == "write":
        writer = store.writer(samples.record())
    os.truncate(os.path.join(root, "index.lmdb", file), size)
    try:
        if doing == "write":
            samples.commit(writer)
        else:
            samples.digest(store)
    except StoreError as error:
        print(error)
"""


@pytest.mark.parametrize("doing", ["read", "write"])
@pytest.mark.parametrize(("file", "size"), [("data.mdb", 0), ("data.mdb", 8192), ("lock.mdb", 0)])
def test_an_index_cut_short_while_open(tmp_path: Path, file: str, size: int, doing: str) -> None:
    """LMDB by itself is killed by it."""
    root = tmp_path / "s"
    with Store.open(root, create=True) as store, store.writer(samples.record()) as writer:
        for _ in range(30):
            samples.commit(writer)
    command = [sys.executable, "-c", CUT_WHILE_OPEN, str(root), file, str(size), doing]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"the index was cut short to {size} of ")
    assert "streamkv repair" in done.stdout
    if file == "data.mdb":
        assert (root / "index.lmdb" / file).stat().st_size == size  # not filled up with zeros


CUT_AT_ANY_MOMENT = """
import sys
from store import Store, StoreError
from tests.store import samples
with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    try:
        while True:
            samples.digest(store)
    except StoreError as error:
        print(error)
"""


def test_an_index_cut_short_while_it_is_read(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 30)
    data = root / "index.lmdb" / "data.mdb"
    good = data.read_bytes()
    for moment in range(3):
        command = [sys.executable, "-c", CUT_AT_ANY_MOMENT, str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            time.sleep(0.01 * moment)
            os.truncate(data, 8192)
            said = child.stdout.read()
        assert (child.returncode, "cut short" in said) == (0, True)
        data.write_bytes(good)


def test_a_segment_file_cut_short_while_open(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 2)
    with Store.open(root) as store:
        found = store.summaries(2, [samples.VIDEO])
        os.truncate(samples.segment_path(root, 1), 3000)
        with pytest.raises(StoreDamaged, match="cut short"):
            store.read_blocks(2, found.refs(range(len(found))))
