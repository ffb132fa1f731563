"""Which frames become thumbnails, and what a thumbnail is."""

import io

import numpy as np
import pytest
from PIL import Image

from streamkv_cli.pipeline.thumbnails import MOST, Thumbnails
from streamkv_cli.video import Frame
from streamkv_cli.video.thumbnail import thumbnail, thumbnail_name, thumbnail_time
from tests.clips import number_picture, read_number


def numbers(pictures: dict[str, bytes]) -> list[int]:
    """Which frames they show; their names must say the same."""
    shown = [read_number(np.array(Image.open(io.BytesIO(p)))) for p in pictures.values()]
    assert [thumbnail_time(name) for name in pictures] == [n * 2.0 for n in shown]
    return shown


@pytest.mark.parametrize(
    ("frames", "picked"),
    [
        (1, [0]),
        (2, [1]),
        (9, [1]),
        (10, [1, 9]),
        (64, [1, 9, 17, 25, 33, 41, 49, 57]),
        (66, [1, 17, 33, 49, 65]),
        (250, [1, 33, 65, 97, 129, 161, 193, 225]),
    ],
)
def test_a_segment_keeps_a_few_of_its_own_frames(frames: int, picked: list[int]) -> None:
    seen = Thumbnails()
    for _ in range(2):  # nothing of a segment is left in the next one
        for n in range(frames):
            seen.add(Frame(n, n * 2.0, number_picture(n)))
        assert numbers(seen.take()) == picked
        assert len(picked) <= MOST
    assert seen.take() == {}


@pytest.mark.parametrize("size", [(1080, 1920), (640, 360), (50, 50), (1, 4000)])
def test_thumbnails_are_small_and_shaped_as_their_picture(size: tuple[int, int]) -> None:
    height, width = size
    # A view with the axes swapped, as an upright picture of a turned video can be.
    noise = np.random.default_rng(0).integers(0, 255, (width, height, 3), np.uint8)
    data = thumbnail(noise.transpose(1, 0, 2))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert max(image.size) == min(160, max(size))
        if min(size) > 1:
            assert image.width / image.height == pytest.approx(width / height, rel=0.02)
    assert data == thumbnail(np.ascontiguousarray(noise.transpose(1, 0, 2)))


def test_names_say_when_and_sort_by_it() -> None:
    times = [0.0, 0.04, 59.999, 86_400.0, 35_999.5]
    assert [thumbnail_time(thumbnail_name(t)) for t in times] == times
    assert sorted(times) == sorted(times, key=thumbnail_name)
    for other in ("thumbnail.jpg", "note", "thumbnail-1.jpg", "thumbnail-000000001.png"):
        assert thumbnail_time(other) is None
