"""What pages are made of, on records of videos of every length."""

import io
import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from store import SegmentRecord, Store, VideoState
from streamkv_cli.pages.answers_page import MOST_PICTURES, Answered, Stretch, answers_page
from streamkv_cli.pages.heat_map import COLUMNS, heat_map
from streamkv_cli.pages.pictures import Pictures, spread
from streamkv_cli.pages.video_page import MOST_CARDS, video_page
from streamkv_cli.video.thumbnail import thumbnail, thumbnail_name
from tests.clips import number_picture
from tests.store import samples


def segment(number: int, kept: tuple[int, ...] = (1, 2, 4), seconds: float = 8) -> SegmentRecord:
    start = number * seconds
    spans = tuple(samples.spans(number))
    return SegmentRecord(number, start, start + seconds, 4, spans, kept, False, 1000, False, {})


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Pictures]:
    """A store of twelve segments with a thumbnail each, but for the last one."""
    with (
        Store.open(tmp_path / "s", create=True) as store,
        store.writer(samples.record()) as writer,
    ):
        for n in range(12):
            jpeg = thumbnail(number_picture(n))
            attached = {thumbnail_name(n * 8 + 2.0): jpeg, "note": b"x"} if n < 11 else {}
            samples.commit(writer, final=n == 11, attachments=attached)
    with Store.open(tmp_path / "s") as store:
        yield Pictures(store)


def test_the_heat_map_shows_every_layer_over_time() -> None:
    # Ten seconds, four that were lost, ten seconds: layer 0 keeps a quarter, then all.
    first, last = segment(0, (1, 4), 10), segment(1, (4, 2), 14)
    uri = heat_map([first, last], 0.0, 28.0, 1.0)
    with Image.open(io.BytesIO(b64decode(uri.split(",")[1]))) as image:
        strength = np.array(image.convert("RGBA"))[..., 3].astype(int)
    assert strength.shape == (2, COLUMNS)
    left, right = strength[:, : COLUMNS * 10 // 28], strength[:, COLUMNS // 2 :]
    gap = strength[:, COLUMNS * 10 // 28 + 2 : COLUMNS // 2 - 2]
    assert [set(row) for row in left] == [{16 + round(239 / 4)}, {255}]
    assert [set(row) for row in right] == [{255}, {16 + round(239 / 2)}]
    assert set(gap.ravel()) == {0}
    crowded = heat_map([segment(n, (n % 2 * 4,)) for n in range(4 * COLUMNS)], 0, 38400, 1.0)
    with Image.open(io.BytesIO(b64decode(crowded.split(",")[1]))) as image:
        mean = np.array(image.convert("RGBA"))[..., 3]
    assert set(mean.ravel()) == {16 + round(239 / 2)}


@pytest.mark.parametrize("count", [0, 1, MOST_CARDS, MOST_CARDS + 1, 5000])
def test_a_page_of_any_length_names_every_segment(pictures: Pictures, count: int) -> None:
    segments = [segment(n) for n in range(count)]
    state = VideoState(False, count, count * 1000, 0.0, count * 8.0, count * 4)
    page = video_page(samples.record(), state, segments, pictures)
    cards = len(re.findall(r'<article class="card"', page))
    together = max(1, -(-count // MOST_CARDS))
    assert cards == -(-count // together) <= MOST_CARDS
    # A card of one segment needs no list of it.
    assert page.count("<tr><td>") == (count - (count % together == 1) if together > 1 else 0)
    assert ("share a picture" in page) == (together > 1)
    assert "Ingested up to" in page
    assert len(page) < 40_000 + 1_000 * cards + 120 * count


def test_a_stretch_shows_its_own_frames_or_the_nearest(pictures: Pictures) -> None:
    def page_of(start: float, end: float) -> str:
        stretch = Stretch("walk.mp4", samples.VIDEO, start, end, 2, 0.5)
        return answers_page([Answered("q", "", "a", [stretch], 3)], pictures)

    def times(page: str) -> list[str]:
        return re.findall(r"<b>(\d:\d\d)</b>", page)

    assert times(page_of(0, 24)) == ["0:02", "0:10", "0:18"]
    assert times(page_of(2, 4)) == ["0:02"]
    assert "nearest" not in page_of(2, 4)
    assert times(page_of(4, 8)) == ["0:02"]
    assert "nearest picture" in page_of(4, 8)
    assert len(times(page_of(0, 96))) == 4
    assert times(page_of(88, 96)) == []
    assert "no picture" in page_of(88, 96)
    gone = Stretch("gone.mp4", samples.OTHER, 0, 8, 1, 0.1)
    assert "no picture" in answers_page([Answered("q", "", "a", [gone], 3)], pictures)
    assert len(pictures.unread) == 1


def test_many_answers_share_the_pictures(pictures: Pictures) -> None:
    evidence = [Stretch("walk.mp4", samples.VIDEO, t, t + 16.0, 1, 0.1) for t in range(0, 64, 8)]
    many = [Answered(f"q{n}", "", "a", evidence, 3) for n in range(200)]
    page = answers_page(many, pictures)
    assert 200 <= page.count("data:image/jpeg") <= MOST_PICTURES
    assert "only the best frames" in page
    assert page.count("and 2 more") == 200


def test_what_is_spread_is_spread_evenly() -> None:
    assert spread(range(9), 1) == [4]
    assert spread(range(3), 4) == [0, 1, 2]
    assert spread(range(100), 4) == [12, 37, 62, 87]
