"""Tags: the one thing of a stored video that may change."""

from pathlib import Path

import pytest

from store import Store, StoreDamaged, StoreMissing, StoreRefused, rebuild
from tests.store import samples


def tags(path: Path) -> dict[str, str]:
    with Store.open(path) as store:
        return dict(store.videos()[0][0].tags)


def test_tags_are_changed_and_survive_a_rebuild(tmp_path: Path) -> None:
    path = samples.fill(tmp_path / "kv")
    before = {p.name: p.read_bytes() for p in path.glob("videos/*/*.safetensors")}
    with Store.open(path, write=True) as store:
        store.tag(samples.VIDEO, {"camera": "lobby", "note": "\u00e9\udcff"})
        store.tag(samples.VIDEO, {"camera": "door"})
        assert store.orphans() == []
    assert tags(path) == {"camera": "door"}
    assert rebuild(path).damaged == ()
    assert tags(path) == {"camera": "door"}
    assert {p.name: p.read_bytes() for p in path.glob("videos/*/*.safetensors")} == before


def test_an_ingest_goes_on_under_new_tags(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        with store.writer(samples.record(tags={"a": "1"})) as writer:
            samples.commit(writer)
        store.tag(samples.VIDEO, {"a": "2"})
        with store.writer(samples.record(tags={"a": "3"})) as writer:
            samples.commit(writer, final=True)
        assert dict(store.videos()[0][0].tags) == {"a": "2"}
    assert rebuild(tmp_path).segments == 2
    assert tags(tmp_path) == {"a": "2"}


def test_a_removed_video_leaves_no_tags(tmp_path: Path) -> None:
    path = samples.fill(tmp_path / "kv")
    with Store.open(path, write=True) as store:
        store.tag(samples.VIDEO, {"camera": "lobby"})
        store.remove(samples.VIDEO)
        assert list((path / "videos").iterdir()) == []
        with pytest.raises(StoreMissing):
            store.tag(samples.VIDEO, {})


def test_a_video_that_is_being_written_is_not_tagged(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store, store.writer(samples.record()) as writer:
        samples.commit(writer)
        with pytest.raises(StoreRefused):
            store.tag(samples.VIDEO, {"a": "b"})


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"tags":{"a":"c"},"xxh3":"0000000000000000"}'])
def test_damaged_tags_are_told_and_the_first_ones_hold(tmp_path: Path, damage: bytes) -> None:
    path = samples.fill(tmp_path / "kv")
    with Store.open(path, write=True) as store:
        store.tag(samples.VIDEO, {"a": "b"})
    (path / "videos" / samples.VIDEO / "tags.json").write_bytes(damage)
    (error,) = rebuild(path).damaged
    assert isinstance(error, StoreDamaged)
    assert "tags" in str(error)
    assert tags(path) == {}
