"""Small byte strings beside a segment's blocks, and a video's tags: kept, verified, rebuilt."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from store import Store, StoreDamaged, StoreMissing, rebuild
from store.segment_file import read_head
from tests.store import samples

PICTURE = bytes(range(256)) * 9
GIVEN = {"thumbnail.jpg": PICTURE, "empty": b"", "a-note.txt": b"hello"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    record = samples.record(tags={"place": "gate 3", "year": "2025"})
    with Store.open(tmp_path / "s", create=True) as store, store.writer(record) as writer:
        samples.commit(writer, attachments=GIVEN)
        samples.commit(writer, final=True)
    return tmp_path / "s"


def test_what_was_attached_is_read_back(root: Path) -> None:
    with Store.open(root) as store:
        for name, data in GIVEN.items():
            assert store.attachment(samples.VIDEO, 0, name) == data
        found = store.segments(samples.VIDEO)
        assert {name: a.bytes for name, a in found[0].attachments.items()} == {
            name: len(data) for name, data in GIVEN.items()
        }
        assert found[1].attachments == {}
        for segment, name in ((0, "other"), (1, "empty"), (2, "empty"), (-1, "empty")):
            with pytest.raises(StoreMissing):
                store.attachment(samples.VIDEO, segment, name)


def test_any_safetensors_reader_finds_them(root: Path) -> None:
    with safe_open(samples.segment_path(root, 0), "np") as file:
        assert file.get_tensor("attachment.thumbnail.jpg").tobytes() == PICTURE


def test_they_survive_a_rebuild_with_the_tags(root: Path) -> None:
    with Store.open(root) as store:
        expected = samples.digest(store)
    rebuild(root)
    with Store.open(root) as store:
        assert samples.digest(store) == expected
        [(video, _)] = store.videos()
        assert video.tags == {"place": "gate 3", "year": "2025"}
        assert store.attachment(samples.VIDEO, 0, "thumbnail.jpg") == PICTURE


def test_a_flipped_bit_is_found(root: Path) -> None:
    path = samples.segment_path(root, 0)
    start = read_head(path).layout.attachments["thumbnail.jpg"]
    samples.flip(path, start + 700, 3)
    with Store.open(root) as store:
        with pytest.raises(
            StoreDamaged, match=r"'thumbnail.jpg' of segment 0 .*checksum"
        ) as caught:
            store.attachment(samples.VIDEO, 0, "thumbnail.jpg")
        assert (caught.value.video, caught.value.segment) == (samples.VIDEO, 0)
        assert store.attachment(samples.VIDEO, 0, "a-note.txt") == b"hello"
        path.write_bytes(path.read_bytes()[:start])
        with pytest.raises(StoreDamaged, match="cut short"):
            store.attachment(samples.VIDEO, 0, "thumbnail.jpg")
        path.unlink()
        with pytest.raises(StoreDamaged, match="missing"):
            store.attachment(samples.VIDEO, 0, "thumbnail.jpg")


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", ".hidden", "x" * 65, "é"])
def test_names_that_could_mean_a_path_are_refused(root: Path, name: str) -> None:
    with Store.open(root, write=True) as store, store.writer(samples.record(samples.OTHER)) as w:
        with pytest.raises(ValueError, match="attachment"):
            samples.commit(w, attachments={name: b"x"})
        samples.commit(w)


def test_tags_are_texts(tmp_path: Path) -> None:
    for tags in ({"a": 1}, {1: "a"}, ["a"]):
        with pytest.raises(ValueError, match="tags are texts"):
            samples.record(tags=tags)
    with pytest.raises(ValueError, match="codec is a short name"):
        samples.record(codec="../raw")


def test_tags_and_attachments_differ_without_a_refusal(root: Path) -> None:
    with Store.open(root, write=True) as store:
        with store.writer(samples.record(tags={"place": "elsewhere"})) as writer:
            assert writer.record.tags == {"place": "gate 3", "year": "2025"}
        text = read_head(samples.segment_path(root, 0)).layout.header[8:].strip()
    record = json.loads(json.loads(text)["__metadata__"]["streamkv"])
    assert record["video"]["tags"]["place"] == "gate 3"
