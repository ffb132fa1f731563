"""Inputs of the stock models, made the way their own processors make them."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tests.model.pair import Pair


def inputs(pair: "Pair") -> dict[str, Any]:
    """What the stock forward takes for the pair's video and prompt."""
    return _FAMILIES[pair.stock.config.model_type](pair)


def _llava(pair: "Pair") -> dict[str, Any]:
    config = pair.stock.config
    video = [config.video_token_id] * (len(pair.frames) * pair.layout.tokens + 1)
    return {"input_ids": _ids(pair, video), "pixel_values_videos": pair.pixels[None]}


def _ids(pair: "Pair", video: list[int]) -> Tensor:
    return torch.tensor([[*pair.prompt.before, *video, *pair.prompt.after]])


_FAMILIES = {"llava_onevision": _llava}
