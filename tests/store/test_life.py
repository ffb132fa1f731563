"""The least recently asked videos make room; videos being written or just ingested never do."""

import os
from pathlib import Path

import pytest

from store import Store, make_room, rebuild
from tests.conftest import Streamkv
from tests.store import samples

IDS = [f"{i:016x}" for i in range(1, 5)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four videos of one segment each, begun in the order of their ids."""
    for number, video in enumerate(IDS):
        samples.fill(tmp_path / "s", 1, video)
        os.utime(samples.segment_path(tmp_path / "s", 0, video), (0, 1000 + number))
    return tmp_path / "s"


def asked(root: Path, video: str, when: float) -> None:
    with Store.open(root) as store:
        store.note_asked(video)
    os.utime(root / "videos" / video / "asked", (0, when))


def names(store: Store) -> list[str]:
    return [video.video_id for video, _ in store.videos()]


def test_the_least_recently_asked_goes_first(root: Path) -> None:
    asked(root, IDS[0], 5000)
    asked(root, IDS[2], 3000)
    with Store.open(root, write=True) as store:
        assert store.asked(IDS[0]) == 5000
        assert store.asked(IDS[1]) is None
        size = store.videos()[0][1].bytes
        assert make_room(store, 4 * size) == []
        assert [v.video_id for v, _ in make_room(store, 3 * size)] == [IDS[1]]
        assert [v.video_id for v, _ in make_room(store, 2 * size - 1)] == [IDS[3], IDS[2]]
        assert names(store) == [IDS[0]]
        assert sorted(p.name for p in (root / "videos").iterdir()) == [IDS[0]]


def test_spared_and_written_videos_stay_whatever_it_takes(root: Path) -> None:
    with Store.open(root, write=True) as store:
        with store.writer(samples.record(IDS[0])):
            removed = make_room(store, 0, spare={IDS[3]})
        assert [v.video_id for v, _ in removed] == [IDS[1], IDS[2]]
        assert names(store) == [IDS[0], IDS[3]]


def test_when_a_video_was_asked_survives_a_rebuild_and_goes_with_it(root: Path) -> None:
    asked(root, IDS[1], 7000)
    rebuild(root)
    with Store.open(root, write=True) as store:
        assert store.asked(IDS[1]) == 7000
        assert store.orphans() == []
        store.remove(IDS[1])
        assert not (root / "videos" / IDS[1]).exists()
        store.note_asked(IDS[1])  # a question that was running meanwhile
        assert not (root / "videos" / IDS[1]).exists()


def test_a_stamp_left_behind_is_an_orphan(root: Path) -> None:
    folder = root / "videos" / "00000000000000aa"
    folder.mkdir()
    (folder / "asked").touch()
    with Store.open(root, write=True) as store:
        assert folder / "asked" in store.prune()
    assert not folder.exists()


def test_noting_follows_no_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (root / "videos" / IDS[0] / "asked").symlink_to(outside)
    with Store.open(root) as store:
        store.note_asked(IDS[0])
    assert not outside.exists()


def test_commands(root: Path, streamkv: Streamkv) -> None:
    asked(root, IDS[0], 5000)
    shown = streamkv("stats", "--store", root)
    assert shown.returncode == 0, shown.stderr
    head, first, *rest = shown.stdout.splitlines()
    assert head.split("\t") == [
        "id", "name", "codec", "blocks", "size", "per hour", "of raw", "asked",
    ]  # fmt: skip
    assert first.split("\t")[2:4] == ["raw", "10"]
    assert first.endswith("100%\t1970-01-01T01:23")
    assert all(line.endswith("never") for line in rest)
    layers = streamkv("stats", "--store", root, "--by", "layer").stdout.splitlines()
    assert [line.split("\t")[:2] for line in layers[1:]] == [["0", "12"], ["1", "8"], ["2", "20"]]
    codecs = streamkv("stats", "--store", root, "--by", "codec").stdout.splitlines()
    assert codecs[1].split("\t")[:3] == ["raw", "4", "40"]
    records = streamkv("stats", "--store", root, "--json").stdout
    assert records.count('"type": "layer"') == 3
    assert '"type": "total", "videos": 4' in records

    with Store.open(root) as store:
        size = store.videos()[0][1].bytes
    done = streamkv("prune", "--store", root, "--max-size", f"{2 * size / 1000}KB")
    assert done.returncode == 0
    assert done.stderr.count("the least recently asked video, to keep to --max-size") == 2
    with Store.open(root) as store:
        assert names(store) == [IDS[0], IDS[3]]
    wrong = streamkv("prune", "--store", root, "--max-size", "much")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--max-size much is no size" in wrong.stderr


def test_sizes_in_words() -> None:
    from streamkv_cli.commands.room import size_of

    assert size_of("50GB") == 50 * 10**9
    assert size_of("1.5 GiB") == 3 * 2**29
    assert size_of("800m") == 800 * 10**6
    assert size_of("12") == 12
    assert size_of(None) is None
