"""Draw the world: batches of pictures straight to tensors, and whole videos to H.264.

Shapes are signed distances, so that a picture of any size and aspect is drawn by one formula and
its edges are smooth at 48 pixels as at 480.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import torch
from torch import Tensor

from .world import COLOURS, GROUNDS, SHAPES, TEXTURES, Scene

PANEL = (0.2, 0.3)
"""Width and height of the number's panel in the upper left corner, 1 = height of the picture."""

_BATCH = 16
# Bars of the digits 0 to 9.
_DIGITS = (
    "abcdef",
    "bc",
    "abged",
    "abgcd",
    "fgbc",
    "afgcd",
    "afgedc",
    "abc",
    "abcdefg",
    "abcdfg",
)
# Seven-segment digit: centre and half sizes of each bar, 0 to 1 over the digit's box.
_BARS = {
    "a": (0.5, 0.08, 0.5, 0.08),
    "b": (0.88, 0.27, 0.12, 0.27),
    "c": (0.88, 0.73, 0.12, 0.27),
    "d": (0.5, 0.92, 0.5, 0.08),
    "e": (0.12, 0.73, 0.12, 0.27),
    "f": (0.12, 0.27, 0.12, 0.27),
    "g": (0.5, 0.5, 0.5, 0.08),
}


@dataclass
class Pictures:
    """What N pictures show, one row each; -1 where there is no object or number.

    Attributes:
        shape, colour, ground, texture, number: int64 [N] indices into the world's constants.
        x, y: [N] where the object is on its way, 0 to 1.
        size: [N] its radius, 1 = height.
        phase: [N] of the texture.
        light: [N] factor on brightness.
        noise: [N] standard deviation, of 255.
    """

    shape: Tensor
    colour: Tensor
    ground: Tensor
    texture: Tensor
    number: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    phase: Tensor
    light: Tensor
    noise: Tensor

    def __len__(self) -> int:
        """N."""
        return len(self.shape)

    def __getitem__(self, rows: slice) -> "Pictures":
        """Some of the rows."""
        return Pictures(*(getattr(self, f.name)[rows] for f in fields(self)))


class Stream(Protocol):
    """What can be drawn: a world, or several one after another.

    Attributes:
        seed: of the camera's noise.
        noise: of the camera, in levels of 255.
    """

    seed: int
    noise: float

    def scenes(self) -> Iterator[Scene]:
        """All scenes in order, without an end."""
        ...

    @property
    def light(self) -> Callable[[float], float]:
        """Of a second, how bright all is."""
        ...


def pictures_of(world: Stream, scenes: Sequence[Scene], seconds: Sequence[float]) -> Pictures:
    """What is to be seen at each of some seconds; `scenes[i]` is the one shown at `seconds[i]`."""
    rows = []
    for scene, second in zip(scenes, seconds, strict=True):
        fact, (x, y) = scene.fact, scene.position(second)
        thing = fact.thing if scene.shows_thing(second) else None
        rows.append(
            (
                -1 if thing is None else thing.shape,
                -1 if thing is None else thing.colour,
                fact.place.ground,
                fact.place.texture,
                -1 if fact.number is None else fact.number,
                x,
                y,
                scene.size,
                scene.phase,
                world.light(second) * scene.brightness(second),
                world.noise,
            )
        )
    columns = list(zip(*rows, strict=True))
    whole = [torch.tensor(column) for column in columns[:5]]
    real = [torch.tensor(column, dtype=torch.float32) for column in columns[5:]]
    return Pictures(*whole, *real)


def draw(
    pictures: Pictures, height: int, width: int, generator: torch.Generator, aspect: float = 4 / 3
) -> Tensor:
    """Draw N pictures.

    Args:
        pictures: what they show.
        height, width: pixels.
        generator: of the camera noise.
        aspect: width over height the pictures are meant to be seen at; another than width / height
            squeezes them, as the model's preprocessing does.

    Returns:
        uint8 [N, height, width, 3].
    """
    v = ((torch.arange(height) + 0.5) / height).view(1, -1, 1)
    u = ((torch.arange(width) + 0.5) / width * aspect).view(1, 1, -1)
    pixel = 0.5 * (1 / height + aspect / width)
    image = _ground(pictures, u, v)
    visible = (pictures.shape >= 0).float().view(-1, 1, 1)
    cover = _coverage(_object(pictures, u, v, aspect), pixel) * visible
    paint = torch.tensor(list(COLOURS.values()), dtype=torch.float32)[pictures.colour.clamp(min=0)]
    image += cover.unsqueeze(1) * (paint.view(-1, 3, 1, 1) - image)
    panel, digits = _panel(pictures.number, u, v, pixel)
    image = image * (1 - panel.unsqueeze(1)) + 255 * digits.unsqueeze(1)
    image *= pictures.light.view(-1, 1, 1, 1)
    image += torch.randn(image.shape, generator=generator) * pictures.noise.view(-1, 1, 1, 1)
    return image.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _coverage(distance: Tensor, pixel: float) -> Tensor:
    """How much of a pixel lies inside, from the signed distance of its centre."""
    return (0.5 - distance / pixel).clamp(0, 1)


def _ground(pictures: Pictures, u: Tensor, v: Tensor) -> Tensor:
    """[N, 3, height, width] the textured ground."""
    colour = torch.tensor(list(GROUNDS.values()), dtype=torch.float32)[pictures.ground]
    phase = pictures.phase.view(-1, 1, 1)
    stripes = torch.sin(2 * torch.pi * ((u + v) / 0.28 + phase)) * 4
    dots = (
        torch.cos(2 * torch.pi * (u / 0.25 + phase)) + torch.cos(2 * torch.pi * (v / 0.25 + phase))
    ) * 4 - 2
    texture = pictures.texture.view(-1, 1, 1)
    pattern = torch.where(texture == TEXTURES.index("striped"), stripes, dots).clamp(-1, 1)
    pattern = pattern * (texture != TEXTURES.index("plain"))
    return colour.view(-1, 3, 1, 1) * (1 + 0.35 * pattern).unsqueeze(1)


def _object(pictures: Pictures, u: Tensor, v: Tensor, aspect: float) -> Tensor:
    """[N, height, width] signed distance to the object, in heights of the picture."""
    r = pictures.size.view(-1, 1, 1)
    left, top = PANEL[0] + r, r
    cx = left + pictures.x.view(-1, 1, 1) * (aspect - r - left)
    cy = top + pictures.y.view(-1, 1, 1) * (1 - r - top)
    x, y = (u - cx) / r, (v - cy) / r
    chosen = pictures.shape.view(-1, 1, 1)
    radius = (x * x + y * y).sqrt()
    ax, ay = x.abs(), y.abs()
    distances = {
        "circle": radius - 1,
        "square": torch.maximum(ax, ay) - 0.85,
        "triangle": torch.maximum(y - 0.7, 0.866 * ax - 0.5 * y - 0.5),
        "cross": torch.minimum(torch.maximum(ax - 1, ay - 0.33), torch.maximum(ax - 0.33, ay - 1)),
        "ring": (radius - 0.78).abs() - 0.22,
        "moon": torch.maximum(radius - 1, 0.85 - ((x - 0.5) ** 2 + (y + 0.1) ** 2).sqrt()),
    }
    distance = torch.full_like(radius, 9.0)
    for index, name in enumerate(SHAPES):
        distance = torch.where(chosen == index, distances[name], distance)
    return distance * r


def _panel(number: Tensor, u: Tensor, v: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
    """[N, height, width] coverage of the panel, and of the digit on it."""
    width, height = PANEL
    shown = (number >= 0).float().view(-1, 1, 1)
    panel = _coverage(torch.maximum(u - width, v - height), pixel) * shown
    left, top, wide, high = 0.045, 0.04, width - 0.09, height - 0.08
    glyphs = []
    for bars in _DIGITS:
        inside = torch.full((1, v.shape[1], u.shape[2]), 9.0)
        for bar in bars:
            x, y, dx, dy = _BARS[bar]
            across = (u - left - x * wide).abs() - dx * wide
            down = (v - top - y * high).abs() - dy * high
            inside = torch.minimum(inside, torch.maximum(across, down))
        glyphs.append(_coverage(inside, pixel))
    return panel, torch.cat(glyphs)[number.clamp(min=0)] * shown


def frames(
    world: Stream, fps: float, end: float, height: int, width: int, start: float = 0.0
) -> Iterator[tuple[float, np.ndarray]]:
    """Pictures of the world at a steady rate: (second, uint8 [height, width, 3]), lazily.

    Drawn in batches that begin at fixed places, so that camera noise is the same from any start.
    """
    scenes = world.scenes()
    scene = next(scenes)
    first = round(start * fps)
    last = math.ceil(end * fps - 1e-9)
    for begin in range(first - first % _BATCH, last, _BATCH):
        seconds = [number / fps for number in range(begin, min(begin + _BATCH, last))]
        shown = []
        for second in seconds:
            while second >= scene.end:
                scene = next(scenes)
            shown.append(scene)
        generator = torch.Generator().manual_seed(world.seed * 1_000_003 + begin)
        pictures = pictures_of(world, shown, seconds)
        drawn = draw(pictures, height, width, generator, width / height).numpy()
        skip = max(0, first - begin)
        yield from zip(seconds[skip:], drawn[skip:], strict=True)


def write_video(
    world: Stream,
    path: Path,
    seconds: float,
    *,
    fps: float = 10,
    height: int = 240,
    width: int = 320,
    crf: int = 26,
    codec: str = "libx264",
) -> Path:
    """Write the world's first `seconds` as H.264 in mp4; few pictures are in memory at a time.

    Args:
        fps: frames a second, also broken ones as 29.97 and 12.5.
        codec: another encoder of libav's that knows crf and presets, as libx265.
    """
    with av.open(path, "w") as container:
        options = {"crf": str(crf), "g": str(round(5 * fps)), "preset": "veryfast"}
        if codec == "libx265":
            options["x265-params"] = "log-level=error"
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _, picture in frames(world, fps, seconds, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
