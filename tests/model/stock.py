"""Inputs of the stock models, made with the code of their own processors.

The video processors of transformers need torchvision to resize; what follows that (patches, the
words between pictures, timestamps) does not, and is theirs here. That our resizing gives their
pixels is the subject of test_preprocess.py.
"""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.video_utils import VideoMetadata

if TYPE_CHECKING:
    from tests.model.pair import Pair


def inputs(pair: "Pair") -> dict[str, Any]:
    """What the stock forward takes for the pair's video and prompt."""
    return _FAMILIES[pair.stock.config.model_type](pair)


def _llava(pair: "Pair") -> dict[str, Any]:
    config = pair.stock.config
    video = [config.video_token_id] * (len(pair.frames) * pair.layout.tokens + 1)
    return {"input_ids": _ids(pair, video), "pixel_values_videos": pair.pixels[None]}


def _qwen2_5_vl(pair: "Pair") -> dict[str, Any]:
    patches, grid = _patches(pair)
    video = [pair.stock.config.video_token_id] * int(grid.prod() // 4)
    ids = _ids(pair, video)
    return {
        "input_ids": ids,
        "mm_token_type_ids": _kinds(pair, ids),
        "pixel_values_videos": patches,
        "video_grid_thw": grid,
        "second_per_grid_ts": torch.tensor([2 / pair.fps]),
    }


def _qwen3_vl(pair: "Pair") -> dict[str, Any]:
    patches, grid = _patches(pair)
    words = pair.ours.tokenizer
    processor = SimpleNamespace(
        video_processor=Qwen3VLVideoProcessor(),
        video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        _calculate_timestamps=lambda *args: Qwen3VLProcessor._calculate_timestamps(None, *args),
    )
    metadata = VideoMetadata(
        total_num_frames=len(pair.frames),
        fps=pair.fps,
        frames_indices=list(range(len(pair.frames))),
    )
    read = {"video_grid_thw": grid, "video_metadata": [metadata]}
    shown = Qwen3VLProcessor.replace_video_token(processor, read, 0)
    text = pair.prompt.text.replace("<|video_pad|>", shown)
    ids = torch.tensor([words(text, add_special_tokens=False)["input_ids"]])
    return {
        "input_ids": ids,
        "mm_token_type_ids": _kinds(pair, ids),
        "pixel_values_videos": patches,
        "video_grid_thw": grid,
    }


def _internvl(pair: "Pair") -> dict[str, Any]:
    processor = SimpleNamespace(
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_seq_length=pair.stock.config.image_seq_length,
    )
    read = {"pixel_values_videos": pair.pixels[None]}
    shown = InternVLProcessor.replace_video_token(processor, read, 0)
    text = pair.prompt.text.replace("<video>", shown)
    ids = pair.ours.tokenizer(text, add_special_tokens=False)["input_ids"]
    return {"input_ids": torch.tensor([ids]), "pixel_values": pair.pixels}


def _patches(pair: "Pair") -> tuple[Tensor, Tensor]:
    """Patches and the grid [1, 3] of the frames as we resized them.

    `patchify` is the same function in the processors of all Qwen-VL families.
    """
    vision = pair.stock.config.vision_config
    frames = pair.pixels.flatten(0, 1)[: len(pair.frames)].unsqueeze(0)
    processor = Qwen3VLVideoProcessor()
    patches, *grid = processor.patchify(
        frames, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    )
    return patches[0], torch.tensor([grid])


def _kinds(pair: "Pair", ids: Tensor) -> Tensor:
    return 2 * (ids == pair.stock.config.video_token_id).int()


def _ids(pair: "Pair", video: list[int]) -> Tensor:
    return torch.tensor([[*pair.prompt.before, *video, *pair.prompt.after]])


_FAMILIES = {
    "llava_onevision": _llava,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "internvl": _internvl,
}
