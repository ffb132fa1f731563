"""Decode with decord, where it is known to give the right pictures.

decord 0.6 finds a picture by counting: it sorts the packets' time stamps, seeks to a key picture
and decodes on from there, n pictures for n packets. The count goes wrong, without a word, where key
pictures are not in presentation order (open groups of pictures), where a packet gives no picture,
and where a picture fails to decode. So the packets are read first, and what does not surely come
out right is refused; some pictures are compared with PyAV's; a word of libav's on standard error
ends it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from streamkv_cli.video.job import GiveUp, Job
from streamkv_cli.video.sampler import sample
from streamkv_cli.video.sink import Sink
from streamkv_cli.video.source import Source, frame_orientation, open_source, shrunk, to_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUSTED_CODECS = {"h264", "hevc", "mpeg4", "mjpeg"}
"""One packet, one picture: VP8 and others also have packets that show nothing."""

SAME = 2.0
"""Mean absolute difference, of 255, below which two decoders' pictures are the same picture: on
8-bit video the two agree exactly, on 10-bit video decord's old conversion is off by 3."""

BATCH = 4

NO_SUBSTITUTE = "0.000000001"
"""Makes decord raise on the first picture that it replaces by a copy of the one before. A share
above zero, as it takes 0 for "no limit" and a whole number n for "after more than n"."""


@dataclass(frozen=True)
class _Index:
    """The video stream's packets, as their headers tell.

    Attributes:
        times: presentation time of each picture in seconds, rising.
        stamps: the same as time stamps of the stream.
        end: seconds at which the last picture leaves the screen.
    """

    times: NDArray[np.float64]
    stamps: NDArray[np.int64]
    end: float


def decode(job: Job, sink: Sink) -> None:
    """Decode the job's source into the sink.

    Raises:
        GiveUp: with kind "doubt" wherever decord may not do it rightly.
    """
    import decord

    before = sink.complaints  # imports may have warned already
    source = open_source(job)
    index = _index(source, sink)
    opening = _first_picture(source)
    reader = _open(decord, job)
    _compare_index(reader, index)
    turn = frame_orientation(opening)
    if not turn.turned_only:
        raise GiveUp("is mirrored, which decord ignores", "doubt")
    full = turn.size(opening.width, opening.height)
    plan = list(sample(index.times.tolist(), index.end, job.fps, start=job.start, first=job.first))
    _compare_pictures(reader, source, index, opening, [position for _, position in plan[-1:]])
    width, height = shrunk(*full, job.max_side)
    sink.opened(duration=source.duration(), width=width, height=height, codec=source.codec)
    source.container.close()
    for batch in _batches(plan):
        pictures = _read(decord, reader, [position for _, position in batch])
        # Where libav conceals damage, decord gives the picture all the same.
        if sink.complaints > before:
            raise GiveUp("is damaged", "doubt")
        for (k, _), pixels in zip(batch, pictures, strict=True):
            sink.picture(k, float(index.times[0]) + k / job.fps, _shrink(pixels, (width, height)))


def _open(decord: Any, job: Job) -> Any:
    try:
        return decord.VideoReader(job.address, ctx=decord.cpu(0), fault_tol=NO_SUBSTITUTE)
    except (decord.DECORDError, RuntimeError, AssertionError) as error:
        raise GiveUp("cannot be opened by decord", "doubt") from error


def _index(source: Source, sink: Sink) -> _Index:
    """Read all packets' headers; refuse a stream in which counting pictures could go wrong."""
    if source.codec not in TRUSTED_CODECS:
        raise GiveUp(f"is {source.codec}, which decord may get wrong", "doubt")
    order = array("q")  # eight bytes a picture: a day of video has millions
    keys = array("q")
    last, length = 0, 0
    for packet in source.container.demux(source.stream):
        sink.alive()
        if not packet.size:
            continue
        if packet.pts is None or packet.is_discard or packet.is_corrupt:
            raise GiveUp("has pictures without a place in time", "doubt")
        if packet.is_keyframe:
            keys.append(len(order))
        order.append(packet.pts)
        if packet.pts >= last:
            last, length = packet.pts, packet.duration or 0
    decoded = np.array(order, np.int64)
    stamps = np.sort(decoded)
    if not len(stamps) or (np.diff(stamps) == 0).any():
        raise GiveUp("has pictures without a place in time", "doubt")
    if not keys or keys[0] != 0 or (stamps[keys] != decoded[keys]).any():
        raise GiveUp("has open groups of pictures, in which decord miscounts", "doubt")
    times = np.array([source.seconds(pts) for pts in stamps.tolist()])
    end, promised = float(times[-1]) + length * source.tick, source.promised_end()
    if not length:
        raise GiveUp("has a last picture of unknown length", "doubt")
    if promised is not None and promised - end > 1.0:
        raise GiveUp("ends before its header says", "doubt")
    return _Index(times, stamps, end)


def _first_picture(source: Source) -> av.VideoFrame:
    for frame in _frames_from(source, None):
        return frame
    raise GiveUp("holds no picture that can be decoded", "doubt")


def _frames_from(source: Source, stamp: int | None) -> Iterator[av.VideoFrame]:
    """PyAV's pictures from the key picture at or before a time stamp, or from the first one."""
    offset = source.stream.start_time or 0 if stamp is None else stamp
    try:
        source.container.seek(offset, stream=source.stream, backward=True)
        yield from source.container.decode(source.stream)
    except av.FFmpegError as error:
        raise GiveUp("is damaged", "doubt") from error


def _compare_index(reader: Any, index: _Index) -> None:
    count = len(reader)
    if count != len(index.times):
        raise GiveUp(f"has {len(index.times)} pictures, of which decord counts {count}", "doubt")
    told = reader.get_frame_timestamp(np.arange(count))[:, 0].astype(np.float64)
    mine = index.times - index.times[0]
    # decord counts from the stream's start, in float32: good to 1e-7 of the time.
    wrong = np.abs(told - told[0] - mine) > 1e-3 + 2e-7 * mine
    if wrong.any():
        at = float(index.times[wrong.argmax()])
        raise GiveUp(f"has another time stamp in decord near {at:.1f} s", "doubt")


def _compare_pictures(
    reader: Any, source: Source, index: _Index, opening: av.VideoFrame, places: list[int]
) -> None:
    """Compare decord's first picture, and those at `places`, with PyAV's."""
    if opening.pts != index.stamps[0]:
        raise GiveUp("does not begin with its first picture", "doubt")
    _compare(reader[0].asnumpy(), opening)
    for place in places:
        stamp = int(index.stamps[place])
        for frame in _frames_from(source, stamp):
            if frame.pts is not None and frame.pts >= stamp:
                if frame.pts != stamp:
                    raise GiveUp("has pictures that decord counts differently", "doubt")
                _compare(reader[place].asnumpy(), frame)
                break


def _compare(theirs: NDArray[np.uint8], frame: av.VideoFrame) -> None:
    turn = frame_orientation(frame)
    mine = to_pixels(frame, turn, turn.size(frame.width, frame.height))
    if theirs.shape != mine.shape:
        raise GiveUp("comes out of decord in another size", "doubt")
    difference = np.abs(theirs.astype(np.int16) - mine.astype(np.int16)).mean()
    if difference > SAME:
        raise GiveUp("comes out of decord with other colours or pictures", "doubt")


def _batches(plan: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    steps = iter(plan)
    while batch := list(islice(steps, BATCH)):
        yield batch


def _read(decord: Any, reader: Any, positions: list[int]) -> NDArray[np.uint8]:
    """uint8 `[n, H, W, 3]`."""
    try:
        pictures: NDArray[np.uint8] = reader.get_batch(positions).asnumpy()
        # decord's threads go on decoding what it has pushed ahead into a queue without a bound,
        # hundreds of MiB while nobody asks; a seek empties it and makes them wait.
        reader.seek(0)
    except (decord.DECORDError, decord.DECORDLimitReachedError) as error:
        raise GiveUp("is damaged", "doubt") from error
    return pictures


def _shrink(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    small = frame.to_ndarray(width=size[0], height=size[1], interpolation="AREA")
    return small.astype(np.uint8, copy=False)
