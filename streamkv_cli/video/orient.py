"""Turn pictures upright: the display matrix that cameras write instead of turning the picture."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """Transpose, then mirror left-right, then flip top-bottom: all eight ways a picture can lie."""

    transpose: bool = False
    mirror: bool = False
    flip: bool = False

    @property
    def turned_only(self) -> bool:
        """Whether this is a rotation, that is, holds an even number of mirrorings."""
        return (self.transpose + self.mirror + self.flip) % 2 == 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height on screen of a picture stored as width x height."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The upright picture, a view: `[H, W, 3]`."""
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        if self.mirror:
            pixels = pixels[:, ::-1]
        return pixels[::-1] if self.flip else pixels


UPRIGHT = Orientation()


def orientation(matrix: bytes) -> Orientation:
    """Read libav's display matrix: nine int32 `a b u c d v x y w`.

    It maps a stored place (x, y) to the shown one: x' = a x + c y, y' = b x + d y.

    Angles between the quarters are taken to the nearest quarter; a broken matrix counts as upright.
    """
    if len(matrix) < 36:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("=9i", matrix[:36])[:5]
    if not (a or b) or not (c or d):
        return UPRIGHT
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirror=a < 0, flip=d < 0)
    return Orientation(transpose=True, mirror=c < 0, flip=b < 0)
