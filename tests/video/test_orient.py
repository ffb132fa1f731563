import struct

import numpy as np
import pytest

from streamkv_cli.video.orient import UPRIGHT, Orientation, orientation

CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3)
PICTURE = np.stack([CORNERS] * 3, axis=-1)


def matrix(a: int, b: int, c: int, d: int, one: int = 1 << 16) -> bytes:
    return struct.pack("=9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)


def shown(a: int, b: int, c: int, d: int) -> np.ndarray:
    """Put every pixel where the matrix sends it: the definition, pixel by pixel."""
    height, width = CORNERS.shape
    places = {
        (a * x + c * y, b * x + d * y): CORNERS[y, x] for y in range(height) for x in range(width)
    }
    xs, ys = sorted({p[0] for p in places}), sorted({p[1] for p in places})
    return np.array([[places[x, y] for x in xs] for y in ys], np.uint8)


ALL_EIGHT = [
    (1, 0, 0, 1),
    (0, 1, -1, 0),
    (-1, 0, 0, -1),
    (0, -1, 1, 0),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, -1, -1, 0),
]


@pytest.mark.parametrize("entries", ALL_EIGHT)
def test_every_pixel_goes_where_the_matrix_sends_it(entries: tuple[int, int, int, int]) -> None:
    turn = orientation(matrix(*entries))
    upright = turn.apply(PICTURE)[..., 0]
    np.testing.assert_array_equal(upright, shown(*entries))
    assert turn.size(3, 2) == upright.shape[::-1]
    a, b, c, d = entries
    assert turn.turned_only == (a * d - b * c == 1)


def test_odd_angles_go_to_the_nearest_quarter() -> None:
    assert orientation(matrix(98, 17, -17, 98, 655)) == UPRIGHT
    assert orientation(matrix(17, 98, -98, 17, 655)) == Orientation(transpose=True, mirror=True)


@pytest.mark.parametrize("broken", [b"", b"\0" * 36, b"\1" * 35])
def test_broken_matrix_counts_as_upright(broken: bytes) -> None:
    assert orientation(broken) == UPRIGHT
