"""Thumbnails: small JPEG pictures of frames, and the names that say when those are shown."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 160
"""Pixels of the longer side, at most."""

QUALITY = 70
"""Of the JPEG: 1 to 3 KB a picture of an ordinary film."""

_NAME = re.compile(r"thumbnail-(\d{9,15})\.jpg")


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A small JPEG of a picture; the same bytes for the same picture.

    Args:
        pixels: uint8 `[height, width, 3]`, RGB.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def thumbnail_name(time: float) -> str:
    """Name of the thumbnail of a frame shown at `time` seconds; in order of time as of names."""
    return f"thumbnail-{max(0, round(time * 1000)):09d}.jpg"


def thumbnail_time(name: str) -> float | None:
    """Seconds that a thumbnail's name says; None where it is no thumbnail's."""
    found = _NAME.fullmatch(name)
    return int(found[1]) / 1000 if found else None
