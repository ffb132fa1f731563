"""Small synthetic videos, written with real encoders, whose every picture says which one it is.

`number_picture(n)` paints n as eight black or white bars, which survives any codec and scaling;
`read_number` reads it back from decoded pixels. The left third is red above and blue below, so that
a picture turned or mirrored is noticed.
"""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

BITS = 8


def number_picture(number: int, width: int = 96, height: int = 64) -> Pixels:
    """A picture that shows `number` (0 to 255): uint8 `[height, width, 3]`."""
    pixels = np.zeros((height, width, 3), np.uint8)
    third = width // 3
    pixels[: height // 2, :third] = (255, 0, 0)
    pixels[height // 2 :, :third] = (0, 0, 255)
    for bit in range(BITS):
        if number >> bit & 1:
            left = third + (width - third) * bit // BITS
            right = third + (width - third) * (bit + 1) // BITS
            pixels[:, left:right] = 255
    return pixels


def read_number(pixels: Pixels) -> int:
    """The number that an upright `number_picture` shows.

    Raises:
        AssertionError: the picture is none, or lies on its side, or is smeared by damage.
    """
    height, width = pixels.shape[:2]
    third = width // 3
    sample = pixels.astype(int)
    red, blue = sample[height // 4, third // 2], sample[3 * height // 4, third // 2]
    assert red[0] > 150, f"red above expected, not {red}"
    assert red[2] < 100, f"red above expected, not {red}"
    assert blue[2] > 150, f"blue below expected, not {blue}"
    number = 0
    for bit in range(BITS):
        middle = third + (width - third) * (2 * bit + 1) // (2 * BITS)
        column = sample[:, middle].mean(axis=1)
        light = column > 128
        assert light.all() or not light.any(), f"bar {bit} is smeared"
        number |= int(light.all()) << bit
    return number


def numbered(count: int, width: int = 96, height: int = 64) -> list[Pixels]:
    """The pictures 0 to count - 1."""
    return [number_picture(n, width, height) for n in range(count)]


def write_clip(
    path: Path,
    frames: Iterable[Pixels],
    *,
    fps: int = 10,
    codec: str = "libx264",
    pts: Sequence[float] | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: tuple[float, float] | None = None,
    second: Iterable[Pixels] | None = None,
) -> Path:
    """Encode pictures into a file; the container follows from the suffix.

    Args:
        path: the file to write.
        frames: uint8 `[H, W, 3]` RGB, all of one size.
        fps: pictures a second, where `pts` gives no times.
        codec: libav's name of an encoder.
        pts: presentation time of each picture in seconds.
        pix_fmt: how the encoder stores pixels.
        options: of the encoder, e.g. {"g": "10"} for a key picture every ten.
        container_options: of the container, e.g. {"movflags": "faststart"}.
        sound: seconds from which and until which a silent sound track runs, none by default.
        second: pictures of a second video stream, which comes first in the file and is not the
            default one.
    """
    frames = list(frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        streams = []
        if second is not None:
            pictures = list(second)
            other = _add_stream(container, codec, fps, pictures[0], pix_fmt, options)
            streams.append((other, pictures, None))
        stream = _add_stream(container, codec, fps, frames[0], pix_fmt, options)
        if second is not None:
            streams[0][0].disposition = av.stream.Disposition(0)
            stream.disposition = av.stream.Disposition.default
        streams.append((stream, frames, pts))
        audio = container.add_stream("aac", rate=8000) if sound is not None else None
        for one, pictures, times in streams:
            _encode(container, one, pictures, times, fps)
        if audio is not None and sound is not None:
            _encode_silence(container, audio, *sound)
    return path


def rotated(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Give an mp4 or mov a display matrix in place: (a, b, c, d) of x' = ax + cy, y' = bx + dy.

    (0, 1, -1, 0) turns the stored picture by 90 degrees clockwise when shown.
    """
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd")
    version = data[at + 4]
    at += 4 + (52 if version == 1 else 40)
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def damaged(path: Path, at: float = 0.5, length: int = 200, seed: int = 0) -> Path:
    """Overwrite `length` bytes in place, `at` tells where in an mp4's picture data (0 to 1)."""
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    size = int.from_bytes(data[begin - 8 : begin - 4], "big") - 8
    offset = begin + int(size * at)
    noise = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    data[offset : offset + length] = noise
    path.write_bytes(data)
    return path


def truncated(path: Path, part: float = 0.5) -> Path:
    """Cut a file off in place, keeping the given part of it."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def _add_stream(
    container: av.container.OutputContainer,
    codec: str,
    fps: int,
    first: Pixels,
    pix_fmt: str,
    options: dict[str, str] | None,
) -> av.video.stream.VideoStream:
    stream = container.add_stream(codec, rate=fps, options=options or {})
    assert isinstance(stream, av.video.stream.VideoStream)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = pix_fmt
    stream.codec_context.thread_count = 1
    # The MPEG encoders take no finer time than their picture rate.
    stream.codec_context.time_base = Fraction(1, fps if codec.startswith("mpeg") else 1000)
    return stream


def _encode(
    container: av.container.OutputContainer,
    stream: av.video.stream.VideoStream,
    frames: list[Pixels],
    pts: Sequence[float] | None,
    fps: int,
) -> None:
    times = [n / fps for n in range(len(frames))] if pts is None else pts
    base = stream.codec_context.time_base
    for pixels, time in zip(frames, times, strict=True):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = round(time / base)
        frame.time_base = base
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)


def _encode_silence(
    container: av.container.OutputContainer,
    stream: av.audio.stream.AudioStream,
    start: float,
    end: float,
) -> None:
    samples = 1024
    for number in range(int((end - start) * 8000 / samples)):
        frame = av.AudioFrame(format="fltp", layout="mono", samples=samples)
        frame.sample_rate = 8000
        frame.planes[0].update(bytes(samples * 4))
        frame.pts = round(start * 8000) + number * samples
        frame.time_base = Fraction(1, 8000)
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)
