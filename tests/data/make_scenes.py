"""Draw tests/data/scenes.mp4: 48 seconds, six scenes, each a shape that crosses a coloured field.

python tests/data/make_scenes.py tests/data/scenes.mp4
"""

import argparse
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, RATE, SCENE_SECONDS = 320, 240, 10, 8
SCENES = [
    ("red", "navy", "circle"),
    ("yellow", "darkgreen", "square"),
    ("white", "maroon", "triangle"),
    ("cyan", "black", "circle"),
    ("orange", "gray", "square"),
    ("magenta", "white", "triangle"),
]


def picture(colour: str, background: str, shape: str, along: float, second: float) -> np.ndarray:
    """One picture [HEIGHT, WIDTH, 3] of a scene, `along` of its way through, with a clock."""
    image = Image.new("RGB", (WIDTH, HEIGHT), background)
    draw = ImageDraw.Draw(image)
    x, y, r = 50 + along * (WIDTH - 100), HEIGHT / 2 + 40 * np.sin(along * 6), 36
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    draw.text((8, 8), f"{second:04.1f}", fill=colour, font_size=24)
    return np.asarray(image)


def main() -> None:
    """Write the video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "28", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        frames = SCENE_SECONDS * RATE
        for number in range(len(SCENES) * frames):
            scene = SCENES[number // frames]
            pixels = picture(*scene, (number % frames) / frames, number / RATE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
