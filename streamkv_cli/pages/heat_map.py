"""Kept share by layer over time, as a picture of one colour in 255 strengths."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from store import SegmentRecord

COLUMNS = 1200
"""Of the picture, over the whole of the video."""

COLOUR = (58, 110, 228)
"""Seen on white and on black alike; how strong it is says the share."""

_FAINTEST = 16


def kept_shares(segment: SegmentRecord) -> list[float]:
    """Share of a segment's blocks that each layer kept, its summary block counted; at most 1."""
    return [min(1.0, rows / max(len(segment.spans), 1)) for rows in segment.rows()]


def heat_map(segments: Sequence[SegmentRecord], start: float, end: float, top: float) -> Markup:
    """The `data:` address of a PNG with a row a layer, layer 0 above, and time from left to right.

    Where several segments meet in one column it shows their mean; where none is, nothing.

    Args:
        start, end: seconds at its left and right edge.
        top: share that is shown in full strength.
    """
    from PIL import Image

    layers = len(segments[0].kept) if segments else 1
    sums = [[0.0] * layers for _ in range(COLUMNS)]
    met = [0] * COLUMNS
    scale = COLUMNS / max(end - start, 1e-9)
    for segment in segments:
        left = min(max(int((segment.start - start) * scale), 0), COLUMNS - 1)
        right = min(max(int((segment.end - start) * scale), left + 1), COLUMNS)
        shares = kept_shares(segment)
        for column in range(left, right):
            met[column] += 1
            sums[column] = [a + b for a, b in zip(sums[column], shares, strict=True)]
    strength = (255 - _FAINTEST) / max(top, 1e-9)
    pixels = bytes(
        min(255, _FAINTEST + round(sums[column][layer] / met[column] * strength))
        if met[column]
        else 0
        for layer in range(layers)
        for column in range(COLUMNS)
    )
    image = Image.frombytes("P", (COLUMNS, layers), pixels)
    image.putpalette(bytes(COLOUR) * 256)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, transparency=bytes(range(256)))
    return Markup("data:image/png;base64," + b64encode(file.getvalue()).decode())
