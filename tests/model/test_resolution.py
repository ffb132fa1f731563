"""Pictures of any size are shown as the Qwen-VL processors show them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    smart_resize as stock_size,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import (
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import (
    smart_resize as stock_film_size,
)

from examples.tiny_checkpoint import write_tiny_checkpoint
from streamkv_cli.errors import ModelError, VideoError
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.qwen_vl import QwenVL
from streamkv_cli.model.resolution import Resolution, load_resolution

SIDES = st.integers(1, 3000)
TOKENS = st.integers(1, 2000)


@given(SIDES, SIDES, TOKENS, st.integers(1, 2000))
def test_sizes_are_those_of_the_stock_rule(
    height: int, width: int, tokens: int, least: int
) -> None:
    if max(height, width) > 200 * min(height, width):
        return
    ours = Resolution(14, 2, 2, least * 784, tokens).size(height, width)
    bounds = {"min_pixels": min(least, tokens) * 784, "max_pixels": tokens * 784}
    assert ours == stock_size(height, width, 28, **bounds)


@given(SIDES, SIDES, TOKENS, st.integers(1, 40))
def test_sizes_are_those_of_the_stock_rule_for_whole_films(
    height: int, width: int, tokens: int, pairs: int
) -> None:
    """Whose bounds are for all frames together: ours, times the number of frames."""
    if max(height, width) > 200 * min(height, width):
        return
    least, frames = 4 * 1024, 2 * pairs
    ours = Resolution(16, 2, 2, least, tokens, enlarge=True).size(height, width)
    bounds = {"min_pixels": min(least, tokens * 1024), "max_pixels": tokens * 1024}
    bounds = {name: bound * frames for name, bound in bounds.items()}
    assert ours == stock_film_size(frames, height, width, 2, 32, **bounds)


@given(SIDES, SIDES, st.integers(4, 2000))
def test_a_picture_never_exceeds_its_budget(height: int, width: int, tokens: int) -> None:
    if max(height, width) > tokens * min(height, width) or tokens > 200:
        return
    high, wide = Resolution(14, 2, 2, 784, tokens).size(height, width)
    assert high * wide <= tokens * 784
    assert high % 28 == wide % 28 == 0


def test_a_strip_is_refused() -> None:
    with pytest.raises(VideoError, match="4000x10 is too narrow"):
        Resolution(14, 2, 2, 784, 256).size(10, 4000)


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> QwenVL:
    folder = tmp_path_factory.mktemp("qwen")
    write_tiny_checkpoint(folder, family=request.param)
    loaded = load_model(find_checkpoint(str(folder)), choose_placement("cpu"), 40)
    assert isinstance(loaded, QwenVL)
    return loaded


def patches_of(model: QwenVL, frames: list[np.ndarray]) -> torch.Tensor:
    return model._patches(model.preprocess(frames))[0]


@pytest.mark.parametrize("size", [(90, 160), (31, 45), (480, 271), (200, 200)], ids=str)
def test_pixels_are_the_stock_processors(model: QwenVL, size: tuple[int, int]) -> None:
    """Against the PIL backend, at most one grey level apart; a still picture is to it a film of two
    equal frames. Where one side grows and the other shrinks, PIL 13 resizes the sides in the other
    order than torch (and so torchvision), and what is clipped in between differs in a few places.
    """
    resolution, area = model._resolution, model._resolution.unit**2
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), dtype=np.uint8)
    frame = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))[: size[0], : size[1]]
    stock = Qwen2VLImageProcessorPil(
        size={"shortest_edge": resolution.least, "longest_edge": resolution.tokens * area},
        patch_size=resolution.patch,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    expected = stock(images=[frame], return_tensors="pt")
    ours = patches_of(model, [frame, frame])
    assert list(model.grid(size[1], size[0])) == [
        side // 2 for side in expected["image_grid_thw"][0, 1:].tolist()
    ]
    difference = (ours - expected["pixel_values"]).abs()
    level = 1 / 255 / 0.5
    high, wide = resolution.size(*size)
    if (high < size[0]) == (wide < size[1]):
        assert difference.max() <= 1.01 * level
    assert (difference > 1.01 * level).float().mean() < 0.005
    assert (difference > 0.01 * level).float().mean() < 0.05


@pytest.mark.parametrize("count", [2, 5])
def test_patches_are_the_stock_video_processors(model: QwenVL, count: int) -> None:
    """An odd last frame doubled, where nothing is left to resize."""
    side = 4 * model._resolution.unit
    generator = np.random.default_rng(2)
    frames = [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]
    stock = Qwen3VLVideoProcessor(
        patch_size=model._resolution.patch, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    # Without torchvision it can neither resize nor normalise.
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    nothing = dict.fromkeys(
        ("do_resize", "do_convert_rgb", "do_sample_frames", "do_rescale", "do_normalize"), False
    )
    expected = stock(videos=[(pixels / 255 - 0.5) / 0.5], return_tensors="pt", **nothing)
    assert expected["video_grid_thw"].tolist() == [[-(-count // 2), 8, 8]]
    torch.testing.assert_close(
        patches_of(model, frames), expected["pixel_values_videos"], atol=1e-6, rtol=0
    )


def test_bounds_of_older_configurations_and_contradictions(tmp_path: Path) -> None:
    config = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "min_pixels": 3136}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(config | {"max_pixels": 12845056, "patch_size": 14}))
    assert load_resolution(tmp_path, 14, 2, 2, 256, 10**5).least == 3136
    path.write_text(json.dumps(config | {"patch_size": 16}))
    with pytest.raises(ModelError, match="patch_size 16, its vision tower 14"):
        load_resolution(tmp_path, 14, 2, 2, 256, 10**5)
