"""Small byte strings beside a segment's blocks, and a video's tags: kept, verified, rebuilt."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors import safe_open

from store import Store, StoreDamaged, StoreMissing, rebuild
from store.check import DAMAGE, check
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


@pytest.fixture
def spoilt(root: Path) -> Path:
    """The same, a bit of the picture flipped."""
    path = samples.segment_path(root, 0)
    samples.flip(path, read_head(path).layout.attachments["thumbnail.jpg"] + 700, 3)
    return root


def _blocks(root: Path) -> list[bytes]:
    """All that is stored of all layers, as a reader gets it; no record of what is attached."""
    with Store.open(root) as store:
        [(video, _)] = store.videos()
        return list(samples.layers_of(store, video))


def test_a_repair_keeps_the_segment_of_a_damaged_picture(spoilt: Path) -> None:
    expected = _blocks(spoilt)
    result = rebuild(spoilt, read_data=True)
    assert (result.segments, result.damaged, result.unfinished) == (2, (), ())
    [taken_out] = result.mended
    assert "'thumbnail.jpg' of segment 0" in taken_out.what
    assert _blocks(spoilt) == expected
    with Store.open(spoilt) as store:
        assert store.attachment(samples.VIDEO, 0, "a-note.txt") == b"hello"
        with pytest.raises(StoreMissing):
            store.attachment(samples.VIDEO, 0, "thumbnail.jpg")
        assert store.orphans() == []
    assert list(check(spoilt, read_data=True)) == []
    with safe_open(samples.segment_path(spoilt, 0), "np") as file:
        names = file.keys()
    assert "attachment.thumbnail.jpg" not in names
    assert rebuild(spoilt, read_data=True).mended == ()


def test_a_dry_run_leaves_the_damaged_picture(spoilt: Path) -> None:
    before = samples.segment_path(spoilt, 0).read_bytes()
    assert len(rebuild(spoilt, read_data=True, dry_run=True).mended) == 1
    assert samples.segment_path(spoilt, 0).read_bytes() == before


def test_damaged_blocks_beside_a_damaged_picture_are_damage(spoilt: Path) -> None:
    path = samples.segment_path(spoilt, 0)
    samples.flip(path, read_head(path).layout.kv[0] + 5)
    result = rebuild(spoilt, read_data=True)
    assert (len(result.damaged), result.mended, result.segments) == (1, (), 1)


def test_a_repair_that_ends_before_the_file_is_written_is_done_again(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is the new one by then, and the file is not: an error, never other blocks."""
    expected = _blocks(spoilt)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["store.rebuild"], "rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            rebuild(spoilt, read_data=True)
    assert [found for found in check(spoilt) if found.kind == DAMAGE]
    with suppress(StoreDamaged):  # where the blocks begin elsewhere in the file to be
        assert _blocks(spoilt) == expected
    rebuild(spoilt, read_data=True)
    assert list(check(spoilt, read_data=True)) == []
    assert _blocks(spoilt) == expected


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
