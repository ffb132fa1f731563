"""Frames come out as the checkpoint's own processor makes them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from streamkv_cli.errors import ModelError
from streamkv_cli.model.preprocess import load_preprocessing

MEAN, STD = [0.48, 0.45, 0.4], [0.27, 0.26, 0.25]
CONFIG = {
    "do_resize": True,
    "resample": 3,
    "size": {"height": 48, "width": 48},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
}


def smooth_frame(height: int, width: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))[:height, :width]


@pytest.mark.parametrize(("height", "width"), [(48, 48), (90, 160), (30, 20), (480, 271)])
@pytest.mark.parametrize("resample", [2, 3])
def test_equals_the_stock_processor(tmp_path: Path, height: int, width: int, resample: int) -> None:
    """Against transformers' PIL backend of the same processor: at most one grey level apart."""
    config = CONFIG | {"resample": resample}
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(config))
    frames = [smooth_frame(height, width, seed) for seed in range(3)]
    ours = load_preprocessing(tmp_path)(frames, torch.device("cpu"))
    stock = LlavaOnevisionImageProcessorPil(**config, image_grid_pinpoints=[[48, 48]])
    for frame, pixels in zip(frames, ours, strict=True):
        resized = stock.resize(np.moveaxis(frame, 2, 0), size=_Size(48, 48), resample=resample)
        mean, std = np.array(MEAN)[:, None, None], np.array(STD)[:, None, None]
        expected = (resized / 255 - mean) / std
        level = 1 / 255 / min(STD)
        difference = np.abs(pixels.numpy() - expected)
        assert difference.max() <= 1.01 * level
        assert (difference > 0.01 * level).mean() < 0.02  # the rare rounding, not a shift


class _Size:
    shortest_edge = longest_edge = max_height = max_width = None

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width

    def __bool__(self) -> bool:
        return True


def test_nested_configuration_goes_first(tmp_path: Path) -> None:
    nested = CONFIG | {"size": {"height": 20, "width": 24}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"video_processor": nested}))
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(CONFIG))
    loaded = load_preprocessing(tmp_path)
    assert (loaded.height, loaded.width) == (20, 24)


def test_image_configuration_serves_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "X"}))
    config = CONFIG | {"size": {"shortest_edge": 32}, "do_normalize": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    loaded = load_preprocessing(tmp_path)
    assert (loaded.height, loaded.width, loaded.mean) == (32, 32, None)
    white = np.full((10, 10, 3), 255, dtype=np.uint8)
    assert loaded([white], torch.device("cpu")).max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nothing.json", "{}", "no video processor configuration"),
        ("video_preprocessor_config.json", "{", "not valid JSON"),
        (
            "video_preprocessor_config.json",
            json.dumps(CONFIG | {"do_center_crop": True}),
            "crops frames",
        ),
    ],
)
def test_configurations_that_cannot_work(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=words):
        load_preprocessing(tmp_path)
