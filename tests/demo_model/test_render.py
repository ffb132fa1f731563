"""Pictures show what the timeline says, as arrays and through H.264."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from examples.demo_model.render import Pictures, draw, frames, write_video
from examples.demo_model.world import COLOURS, GROUNDS, SHAPES, TEXTURES, World


def _pictures(**values: float) -> Pictures:
    base = {
        "shape": 0,
        "colour": 0,
        "ground": 0,
        "texture": 0,
        "number": -1,
        "x": 0.5,
        "y": 0.5,
        "size": 0.25,
        "phase": 0.0,
        "light": 1.0,
        "noise": 0.0,
    } | values
    whole = ("shape", "colour", "ground", "texture", "number")
    return Pictures(
        **{
            name: torch.tensor([value], dtype=torch.int64 if name in whole else torch.float32)
            for name, value in base.items()
        }
    )


def _draw(height: int = 96, width: int = 128, **values: float) -> np.ndarray:
    return draw(_pictures(**values), height, width, torch.Generator())[0].numpy()


def test_colours_are_where_they_should_be() -> None:
    for colour, rgb in enumerate(COLOURS.values()):
        picture = _draw(colour=colour, ground=1)
        # The object's way runs from the panel and its radius to the right edge and its radius.
        centre = round((0.2 + 0.25 + 0.5 * (4 / 3 - 0.7)) * 96)
        assert np.abs(picture[48, centre].astype(int) - rgb).max() <= 1
        assert np.abs(picture[-1, 0].astype(int) - list(GROUNDS.values())[1]).max() <= 1


def test_every_choice_changes_the_picture() -> None:
    seen = {
        name: {_draw(**{name: value}).tobytes() for value in range(count)}
        for name, count in (
            ("shape", len(SHAPES)),
            ("colour", len(COLOURS)),
            ("ground", len(GROUNDS)),
            ("texture", len(TEXTURES)),
            ("number", 10),
        )
    }
    assert [len(v) for v in seen.values()] == [6, 6, 4, 3, 10]


def test_no_object_and_no_number_leave_the_ground_alone() -> None:
    picture = _draw(shape=-1, number=-1)
    assert (picture == picture[0, 0]).all()


def test_size_and_aspect_change_the_sampling_not_the_scene() -> None:
    large = torch.from_numpy(_draw(192, 256, number=3)).permute(2, 0, 1).float()
    small = torch.from_numpy(_draw(96, 128, number=3)).permute(2, 0, 1).float()
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert float((shrunk - small).abs().mean()) < 1.0


def test_frames_are_the_same_wherever_one_begins() -> None:
    whole = dict(frames(World(4), 1.0, 80.0, 24, 32))
    late = dict(frames(World(4), 1.0, 80.0, 24, 32, start=53.0))
    assert list(late) == [float(second) for second in range(53, 80)]
    for second, picture in late.items():
        assert np.array_equal(picture, whole[second])


@pytest.mark.parametrize(("fps", "height", "width"), [(5, 120, 160), (4, 90, 160), (12.5, 60, 80)])
def test_mp4_decodes_to_the_same_scenes(
    tmp_path: Path, fps: float, height: int, width: int
) -> None:
    path = write_video(World(11), tmp_path / "w.mp4", 24.0, fps=fps, height=height, width=width)
    drawn = [picture for _, picture in frames(World(11), fps, 24.0, height, width)]
    with av.open(path) as container:
        decoded = list(container.decode(video=0))
    assert len(decoded) == len(drawn) == 24 * fps
    assert decoded[0].width == width
    for number in (0, 30, len(drawn) - 1):
        assert decoded[number].time == pytest.approx(number / fps, abs=1e-3)
        shown = decoded[number].to_ndarray(format="rgb24").astype(int)
        assert np.abs(shown - drawn[number]).mean() < 12
