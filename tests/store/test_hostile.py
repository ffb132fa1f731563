"""Whatever a store's files hold, the outcome is a clean read or a named error, within the store."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given
from hypothesis import settings as runs
from hypothesis import strategies as st

from store import Store, StoreError, StoreRefused, rebuild
from store.entries import seal
from store.index import Index
from store.segment_file import read_head
from tests.store import samples

FUZZ = runs(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["../../x", "/etc/passwd", "raw", "int4", 2**63, -1, 10**30]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything is in a JSON value."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [at, *(path for key, part in inner for path in paths_in(part, (*at, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = put(value[key], tuple(rest), new)
    return copy


def read_all(root: Path) -> None:
    """All that a reader does, with everything there is."""
    with Store.open(root) as store:
        samples.digest(store)
        for video, _ in store.videos():
            store.asked(video.video_id)
            for segment in store.segments(video.video_id):
                for name in segment.attachments:
                    store.attachment(video.video_id, segment.number, name)


def outcome(act: Callable[[], object]) -> str:
    """What the store says of it; anything but a StoreError is a mistake of ours."""
    try:
        act()
    except StoreError as error:
        return str(error)
    return "read"


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A segment file and its bytes."""
    root = tmp_path_factory.mktemp("hostile") / "s"
    with Store.open(root, create=True) as store, store.writer(samples.record()) as writer:
        samples.commit(writer, attachments={"note": b"hello"}, final=True)
    path = samples.segment_path(root, 0)
    return path, path.read_bytes()


@given(st.data())
@FUZZ
def test_garbled_segment_files(segment: tuple[Path, bytes], data: st.DataObject) -> None:
    """Bytes changed, cut out, put in, cut off."""
    path, good = segment
    end = read_head(path).layout.kv[0]
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(bad) - 1)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "end"]))
        some = data.draw(st.binary(max_size=20))
        if kind == "set":
            bad[at : at + len(some)] = some
        elif kind == "cut":
            del bad[at : at + data.draw(st.integers(1, 99))]
        elif kind == "insert":
            bad[at:at] = some
        else:
            del bad[at:]
    path.write_bytes(bad)
    try:
        said = outcome(lambda: read_head(path))
    finally:
        path.write_bytes(good)
    whole = len(bad) == len(good) and bad[:end] == good[:end]  # blocks have sums of their own
    assert said == "read" if whole else "00000000.safetensors: " in said


def rewritten(good: bytes, change: Callable[[Any], Any]) -> bytes:
    """The file with another record, all of its checksums right: an enemy can compute them."""
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + size])
    record = change(json.loads(header["__metadata__"]["streamkv"]))
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    header["__metadata__"]["streamkv"] = text
    raw = json.dumps(header, separators=(",", ":")).encode()
    data_start = 8 + size
    tables = header["layer.000.kv"]["data_offsets"][0]
    raw += b" " * (-(8 + len(raw) + tables) % 512)
    bad = bytearray(len(raw).to_bytes(8, "little") + raw + good[data_start:])
    at = 8 + len(raw)
    bad[at : at + 8] = bytes(8)
    bad[at : at + 8] = xxhash.xxh3_64_intdigest(bytes(bad[: at + tables])).to_bytes(8, "little")
    return bytes(bad)


def test_the_forgery_below_is_a_good_one(segment: tuple[Path, bytes]) -> None:
    path, good = segment
    path.write_bytes(rewritten(good, lambda record: put(record, ("video", "name"), "x" * 700)))
    try:
        assert read_head(path).video.name == "x" * 700
    finally:
        path.write_bytes(good)


@given(st.data())
@FUZZ
def test_forged_records(segment: tuple[Path, bytes], data: st.DataObject) -> None:
    """Any part of the record is anything; a rebuild takes it or names it, a reader likewise."""
    path, good = segment

    def change(record: Any) -> Any:
        place = data.draw(st.sampled_from(paths_in(record)))
        return put(record, place, data.draw(JSON))

    path.write_bytes(rewritten(good, change))
    root = path.parents[2]
    try:
        assert outcome(lambda: (rebuild(root), read_all(root)))
    finally:
        for aside in path.parent.glob("*.damaged"):
            aside.unlink()
        path.write_bytes(good)
    assert sorted(entry.name for entry in root.iterdir()) == [
        "index.lmdb",
        "streamkv.json",
        "videos",
    ]


def replace_value(root: Path, database: str, change: Callable[[bytes], bytes]) -> None:
    """Change the first entry of a database, sealed as the store would."""
    index = Index(root / "index.lmdb", write=True)
    try:
        with index.read() as snapshot:
            key, value = next((bytes(k), bytes(v)) for k, v in snapshot.scan(database))
        index.write([(database, key, seal(key, change(value[:-8])))])
    finally:
        index.close()


@pytest.mark.parametrize("database", ["videos", "segments"])
@given(data=st.data())
@runs(FUZZ, max_examples=40)
def test_forged_index_records(
    tmp_path_factory: pytest.TempPathFactory, database: str, data: st.DataObject
) -> None:
    root = samples.fill(tmp_path_factory.mktemp("forged") / "s", 1)

    def change(body: bytes) -> bytes:
        record = json.loads(body)
        place = data.draw(st.sampled_from(paths_in(record)))
        return json.dumps(put(record, place, data.draw(JSON))).encode()

    replace_value(root, database, change)
    assert outcome(lambda: read_all(root))


@given(data=st.data())
@runs(FUZZ, max_examples=60)
def test_forged_summaries(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = samples.fill(tmp_path_factory.mktemp("summaries") / "s", 1)

    def change(body: bytes) -> bytes:
        bad = bytearray(body)
        at = data.draw(st.integers(0, len(bad) - 1))
        some = data.draw(st.binary(min_size=1, max_size=12))
        bad[at : at + len(some)] = some
        return bytes(bad)

    replace_value(root, "summaries", change)
    assert outcome(lambda: read_all(root))


LIMITED = (
    "import resource, sys\n"
    "from store import Store, StoreError\n"
    "from store.segment_file import read_head\n"
    "from pathlib import Path\n"
    "limit = 1 << 30\n"
    "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
    "for name in sys.argv[1:]:\n"
    "    try: read_head(Path(name)); print('read')\n"
    "    except StoreError as error: print(error.kind)\n"
)


def test_huge_claims_allocate_nothing(segment: tuple[Path, bytes], tmp_path: Path) -> None:
    """In a process that may have 1 GiB of addresses: an attempt would end it."""
    _, good = segment
    huge = 2**32 - 1
    changes: list[Callable[[Any], Any]] = [
        lambda r: put(r, ("video", "geometry", "tokens"), huge),
        lambda r: put(r, ("video", "geometry", "head_dim"), huge),
        lambda r: put(r, ("video", "geometry", "kv_heads"), 0xFFFF),
        lambda r: put(r, ("segment", "kept"), [4, 4, huge]),
        lambda r: put(r, ("segment", "attachments", "note", "bytes"), huge),
        lambda r: put(
            put(r, ("video", "geometry", "layers"), 65535), ("segment", "kept"), [4] * 65535
        ),
        lambda r: put(put(r, ("video", "codec"), "int4"), ("video", "geometry", "tokens"), huge),
    ]
    files = []
    for number, change in enumerate(changes):
        files.append(tmp_path / f"{number:08d}.safetensors")
        files[-1].write_bytes(rewritten(good, change))
    files.append(tmp_path / "00000099.safetensors")
    files[-1].write_bytes((2**62).to_bytes(8, "little") + good[8:])
    command = [sys.executable, "-c", LIMITED, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["damaged"] * len(files), done.stderr


def test_links_lead_nowhere(tmp_path: Path) -> None:
    """A segment file or a video's folder that is a link is refused; nothing outside is touched."""
    root = samples.fill(tmp_path / "s", 2)
    outside = samples.fill(tmp_path / "outside", 2)
    path = samples.segment_path(root, 1)
    path.unlink()
    path.symlink_to(samples.segment_path(outside, 1))
    with Store.open(root) as store:
        found = store.summaries(0, [samples.VIDEO])
        with pytest.raises(StoreError, match=r"no symbolic links"):
            store.read_blocks(0, found.refs(range(len(found))))
    with pytest.raises(StoreError, match=r"no symbolic links"):
        read_head(path)

    folder = root / "videos" / samples.OTHER
    folder.symlink_to(outside / "videos" / samples.VIDEO)
    with Store.open(root, write=True) as store:
        assert store.prune() == []
        with pytest.raises(StoreRefused, match="is a symbolic link"):
            store.writer(samples.record(samples.OTHER))
        store.remove(samples.VIDEO)
    assert samples.segment_path(outside, 0).exists()
    assert samples.segment_path(outside, 1).exists()


def test_a_foreign_video_id_is_no_path(tmp_path: Path) -> None:
    """An index entry whose record names another place than its key."""
    root = samples.fill(tmp_path / "s", 1)

    def change(body: bytes) -> bytes:
        return body.replace(samples.VIDEO.encode(), b"../../outside/ab")

    replace_value(root, "videos", change)
    with Store.open(root) as store, pytest.raises(StoreError, match="16 lower-case hex"):
        store.videos()
