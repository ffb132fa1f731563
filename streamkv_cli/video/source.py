"""Open a source with libav: the right stream of it, its timeline, and its pictures' way up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import av
import av.logging
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition

from streamkv_cli.video.job import GiveUp, Job
from streamkv_cli.video.orient import UPRIGHT, Orientation, orientation

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from av.container import InputContainer
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

_ABSOLUTE_TIMELINES = {"mov", "mp4", "matroska", "webm", "avi"}
"""Formats in which 0 is where the film begins, so that a picture may come late. In others (MPEG
transport streams, say) clocks start anywhere, and time counts from the first thing in them."""

_REORDERING = 0.5
"""Seconds. A shorter delay of the first picture is left over from encoding: files without an edit
list begin with the time it took to put pictures into decoding order."""

_NOT_VIDEO_FORMATS = {"tty"}  # libav shows plain text files as a film of a terminal


@dataclass
class Source:
    """An opened container and the video stream in it.

    Attributes:
        container: libav's container.
        stream: the video stream that libav's `av_find_best_stream` takes, cover art left aside.
        zero: seconds of stream time that count as time 0.
    """

    container: InputContainer
    stream: VideoStream
    zero: float | None

    @property
    def tick(self) -> float:
        """Seconds of one unit of the stream's time stamps."""
        return float(self.stream.time_base or 0.0)

    def seconds(self, pts: int) -> float:
        """Presentation time of a time stamp."""
        return float(pts * (self.stream.time_base or 0)) - (self.zero or 0.0)

    def interval(self) -> float:
        """Seconds from picture to picture as the stream announces it; 0 if it does not."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(1 / rate) if rate else 0.0

    def stream_end(self) -> float | None:
        """Seconds at which the video stream's own header says that it ends."""
        stream = self.stream
        if stream.duration:
            return self.seconds((stream.start_time or 0) + stream.duration)
        tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
        if tag:  # Matroska: the time stamp at the end, not a length
            hours, minutes, seconds = tag.groups()
            at = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            return at - (self.zero or 0.0)
        return None

    def promised_end(self) -> float | None:
        """Seconds at which the video ends as its header has it; None where no header says."""
        end = self.stream_end()
        if end is None and len(self.container.streams) == 1:  # nothing else could be longer
            return self.duration()
        return end

    def duration(self) -> float | None:
        """Seconds from time 0 to the end of the video, None if unknown."""
        end = self.stream_end()
        if end is None and self.container.duration:
            end = self.container.duration / av.time_base
        return end if end and end > 0 else None

    @property
    def codec(self) -> str:
        """libav's name of the codec, not of the decoder that serves it."""
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def threads(self) -> int:
        """Threads that decode; known once the first picture is out."""
        return max(1, self.stream.codec_context.thread_count)


def open_source(job: Job, zero: float | None = None) -> Source:
    """Open the job's source and choose its video stream.

    Args:
        job: names the source.
        zero: the container's start where it is known already.

    Raises:
        GiveUp: it is no video, or holds none that can be decoded.
    """
    av.logging.set_level(None)
    options = {"rtsp_transport": "tcp"} if job.address.startswith("rtsp") else {}
    try:
        container = av.open(job.address, mode="r", options=options)
    except OSError as error:  # libav's errors that have a number in errno
        raise GiveUp(f"cannot be opened: {_reason(error)}") from error
    except (av.FFmpegError, ValueError) as error:
        raise GiveUp("is not a video, or is cut off: its header cannot be read") from error
    if set(container.format.name.split(",")) & _NOT_VIDEO_FORMATS:
        raise GiveUp("is not a video, but text")
    stream = _video_stream(container)
    stream.thread_type = "AUTO"
    start = container.start_time
    if zero is None and start is not None:
        zero = start / av.time_base
        absolute = set(container.format.name.split(",")) & _ABSOLUTE_TIMELINES
        if absolute and zero >= _REORDERING:
            zero = 0.0
    return Source(container, stream, zero)


def _reason(error: OSError) -> str:
    if isinstance(error, av.InvalidDataError):
        return "it is not a video, or it is cut off"
    return str(error.strerror or error).lower()


def _video_stream(container: InputContainer) -> VideoStream:
    def cover(stream: Any) -> bool:
        return bool(stream.disposition & Disposition.attached_pic)

    best = cast("VideoStream | None", container.streams.best("video"))
    if best is not None and not cover(best):
        return best
    real = [stream for stream in container.streams.video if not cover(stream)]
    if not real:
        raise GiveUp("holds no video" + (", only a cover picture" if best is not None else ""))
    usable = [stream for stream in real if stream.codec_context is not None]
    if not usable:
        raise GiveUp("holds a video that no decoder here knows")
    return usable[0]


def frame_orientation(frame: VideoFrame) -> Orientation:
    """How a decoded picture is to be turned.

    Ask seldom: reading side data ties the frame into a reference cycle, and it stays in memory
    until Python's next collection.
    """
    for data in cast("Iterable[SideData]", frame.side_data):  # iterates over values
        if data.type == SideDataType.DISPLAYMATRIX:
            return orientation(bytes(data))
    return UPRIGHT


def shrunk(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Width and height with the longer side at most `max_side`, the proportions kept."""
    longer = max(width, height)
    if max_side is None or longer <= max_side:
        return width, height
    return (max(1, round(width * max_side / longer)), max(1, round(height * max_side / longer)))


def to_pixels(frame: VideoFrame, turn: Orientation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A decoded picture as uint8 `[H, W, 3]` RGB, upright, scaled to `size` = (width, height).

    Every picture of a video comes in one size: a stream that changes its resolution on the way is
    scaled to that of its first picture.
    """
    width, height = turn.size(*size)  # a transposition is its own inverse
    if (frame.width, frame.height) == (width, height):
        pixels = frame.to_ndarray(format="rgb24")
    else:
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return turn.apply(cast("NDArray[np.uint8]", pixels))
