"""What the video room gives away: frames, and what is known of the video they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoInfo:
    """A video as it is displayed.

    Attributes:
        name: what messages call it: the path as given, "standard input", or the address without
            its password.
        duration: seconds from the container's start to the end of the video, None if unknown
            (live streams).
        width: pixels, after rotation and `max_side`.
        height: pixels, after rotation and `max_side`.
        codec: libav's name of the codec, e.g. "h264".
        decoder: what decodes it now: "decord" or "pyav".
    """

    name: str
    duration: float | None
    width: int
    height: int
    codec: str
    decoder: str


@dataclass(frozen=True, eq=False)
class Frame:
    """One sampled picture.

    Attributes:
        index: k of the sampling grid; gaps appear only where damaged pictures were left out.
        time: t_k in seconds from the container's start, what a player would show.
        pixels: uint8 `[height, width, 3]`, RGB, upright, owned by the receiver.
    """

    index: int
    time: float
    pixels: NDArray[np.uint8]
