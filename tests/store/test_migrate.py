"""Stores of format 1 are read as they are, and brought to format 2 without touching a segment."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from store import Store, StoreDamaged, StoreRefused, migrate, rebuild
from tests.conftest import Streamkv
from tests.store import samples

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "v1.json").read_text())
COMPLETE, PARTIAL = "6b270c4374267cf7", "436c48662249da35"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The fixture unpacked: `store` and the `model` that made it."""
    with tarfile.open(FIXTURES / "v1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store"


def content(root: Path) -> dict[str, object]:
    """What v1.json says of a store."""
    found: dict[str, object] = {}
    with Store.open(root) as store:
        for video, state in store.videos():
            layers = []
            for layer in range(video.geometry.layers):
                rows = store.summaries(layer, [video.video_id])
                blocks = store.read_blocks(layer, rows.refs(range(len(rows))))
                seen = rows.keys.numpy().tobytes() + blocks.numpy().tobytes()
                layers.append({"rows": len(rows), "sha256": hashlib.sha256(seen).hexdigest()})
            found[video.video_id] = {
                "name": video.name,
                "segments": state.segments,
                "complete": state.complete,
                "bytes": state.bytes,
                "layers": layers,
            }
    return found


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.safetensors")}


def marker(root: Path) -> str:
    return (root / "streamkv.json").read_text()


def test_format_1_is_read_as_it_is(old: Path) -> None:
    before = {**files(old), "marker": marker(old)}
    assert content(old) == EXPECTED
    with Store.open(old) as store:
        for video, _ in store.videos():
            assert (video.codec, dict(video.tags)) == ("raw", {})
            assert len(store.segments(video.video_id)) == EXPECTED[video.video_id]["segments"]
    assert {**files(old), "marker": marker(old)} == before
    with pytest.raises(StoreRefused, match=r"format 1, which is read .* streamkv migrate"):
        Store.open(old, write=True)
    with pytest.raises(StoreRefused, match="streamkv migrate"):
        Store.open(old, create=True)


def test_migration_changes_index_and_marker_only(old: Path) -> None:
    before = files(old)
    planned = migrate(old, dry_run=True)
    assert marker(old) == '{"format": 1}\n'
    done = migrate(old)
    assert planned == done
    assert (done.old, done.new, done.videos, done.segments) == (1, 2, 2, 10)
    assert marker(old) == '{"format": 2}\n'
    assert files(old) == before
    assert content(old) == EXPECTED
    again = migrate(old)
    assert (again.old, again.new) == (2, 2)


def test_a_migrated_video_goes_on(old: Path) -> None:
    migrate(old)
    with Store.open(old, write=True) as store:
        [(record, state)] = [v for v in store.videos() if v[0].video_id == PARTIAL]
        with store.writer(record) as writer:
            geometry = record.geometry
            chosen = [(0, 4)]
            samples.commit(
                writer,
                start=state.end,
                end=state.end + 8,
                spans=samples.spans(3),
                layers=samples.layers(3, geometry, chosen),
                final=True,
                attachments={"a.jpg": b"picture"},
            )
        assert store.attachment(PARTIAL, 3, "a.jpg") == b"picture"
        expected = samples.digest(store)
    assert rebuild(old).damaged == ()
    with Store.open(old) as store:
        assert samples.digest(store) == expected


def test_a_migration_cut_short_is_read_and_completed(old: Path) -> None:
    migrate(old)
    (old / "streamkv.json").write_text('{"format": 1}\n')  # as if killed before the marker
    assert content(old) == EXPECTED
    migrate(old)
    assert content(old) == EXPECTED
    assert marker(old) == '{"format": 2}\n'


@pytest.mark.parametrize("moment", range(1, 40, 3))
def test_a_kill_at_any_call_leaves_a_readable_store(old: Path, moment: int) -> None:
    """The process dies at its n-th call to the system that changes a name or makes it durable."""
    code = (
        "import os, sys\n"
        "left = [int(sys.argv[2])]\n"
        "def dying(call):\n"
        "    def wrapped(*args, **named):\n"
        "        left[0] -= 1\n"
        "        if left[0] <= 0: os._exit(9)\n"
        "        return call(*args, **named)\n"
        "    return wrapped\n"
        "from store import migrate\n"
        "for name in ('rename', 'replace', 'fsync', 'pwrite', 'truncate', 'rmdir', 'unlink'):\n"
        "    setattr(os, name, dying(getattr(os, name)))\n"
        "migrate(sys.argv[1])\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(old), str(moment)], check=False)
    assert run.returncode in (0, 9)
    if not (old / "index.lmdb").exists():  # between the two renames: as a rebuild would leave it
        assert migrate(old).segments == 10
    assert content(old) == EXPECTED
    migrate(old)
    assert content(old) == EXPECTED
    assert marker(old) == '{"format": 2}\n'


def test_a_lost_index_of_format_1_is_made_again(old: Path) -> None:
    shutil.rmtree(old / "index.lmdb")
    rebuild(old)
    assert content(old) == EXPECTED
    migrate(old)
    assert content(old) == EXPECTED


def test_an_old_index_under_a_new_marker_is_damage(old: Path) -> None:
    (old / "streamkv.json").write_text('{"format": 2}\n')
    with pytest.raises(StoreDamaged, match="index is of format 1"):
        Store.open(old)
    rebuild(old)
    assert content(old) == EXPECTED


def test_a_damaged_segment_stops_the_migration_before_it_begins(old: Path) -> None:
    samples.flip(samples.segment_path(old, 2, COMPLETE), 300)
    index = (old / "index.lmdb" / "data.mdb").read_bytes()
    for dry_run in (True, False):
        with pytest.raises(StoreDamaged, match=f"{COMPLETE}/00000002"):
            migrate(old, dry_run=dry_run)
    assert marker(old) == '{"format": 1}\n'
    assert (old / "index.lmdb" / "data.mdb").read_bytes() == index


def test_commands_on_an_old_store(old: Path, streamkv: Streamkv) -> None:
    model, video = old.parent / "model", Path(__file__).parents[1] / "data" / "scenes.mp4"
    assert streamkv("ls", "--store", old).returncode == 0
    assert streamkv("show", "world.mp4", "--store", old).returncode == 0
    question = ("ask", "what is there?", "--store", old, "--model", model, "--max-new-tokens", "2")
    before = streamkv(*question, "--video", "world.mp4")
    assert before.returncode == 0, before.stderr
    ingest = ("ingest", video, "--model", model, "--fps", "1", "--store", old)
    refused = streamkv(*ingest)
    assert refused.returncode == 4
    assert "streamkv migrate" in refused.stderr
    dry = streamkv("migrate", "--dry-run", "--store", old)
    assert "would bring the store from format 1 to 2: 2 videos, 10 segments" in dry.stderr
    assert streamkv("migrate", "--store", old).returncode == 0
    assert streamkv(*question, "--video", "world.mp4").stdout == before.stdout
    other = streamkv(*ingest)  # today's defaults are not those it was begun with
    assert other.returncode == 4
    assert "--as-stored" in other.stderr
    went_on = streamkv("ingest", video, "--as-stored", "--model", model, "--store", old)
    assert went_on.returncode == 0, went_on.stderr
    assert "going on after 3 segments" in went_on.stderr
    assert streamkv(*question, "--video", "scenes.mp4").returncode == 0
    assert "nothing to do" in streamkv("migrate", "--store", old).stderr
