"""InternVL in transformers' own format: InternViT, pixel shuffle, and "Frame7: " before each frame.

The words before a frame are stored with its block, so a fetched block still says which frame of its
video it was.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from streamkv_cli.errors import ModelError
from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.loading import load_tokenizer, load_weights
from streamkv_cli.model.preprocess import Preprocessing, load_preprocessing
from streamkv_cli.model.prompts import chat_template
from streamkv_cli.model.video_llm import FrameFeatures, VideoLLM

_BEGIN, _END = "<img>", "</img>"
_LAST = 999_998
"""Number of the last frame whose words have slots in a block."""


class InternVL(VideoLLM):
    """InternVL behind the common interface."""

    placeholder = "<video>"

    def __init__(
        self,
        model: InternVLForConditionalGeneration,
        tokenizer: Any,
        template: str,
        placement: Placement,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(model, tokenizer, template, placement)
        self._preprocessing = preprocessing
        self._closing = tuple(tokenizer(_END, add_special_tokens=False)["input_ids"])

    def lay_out(self, width: int, height: int, fps: float) -> Layout:
        """Every frame is resized to the tower's square, and its patches are shuffled together."""
        config = self.model.config
        vision = config.vision_config
        rows, columns = (
            int(size // patch * config.downsample_ratio)
            for size, patch in zip(vision.image_size, vision.patch_size, strict=True)
        )
        head = len(self.heading(0, 0, _LAST))
        return Layout(rows, columns, head=head, tail=len(self.closing()))

    def preprocess(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Frames uint8 [H, W, 3] of one size -> [T, 3, side, side] in the model's dtype."""
        return self._preprocessing(frames, self.placement.device).to(self.placement.dtype)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> FrameFeatures:
        """[T, 3, side, side] -> shuffled, projected tokens [T, V, D] and tower means [T, D']."""
        output = self.model.model.get_image_features(pixels, return_dict=True)
        patches = output.last_hidden_state[:, 1:]  # the first is the class token
        return FrameFeatures(output.pooler_output, patches.float().mean(dim=1))

    def heading(self, start: float, end: float, number: int) -> Sequence[int]:
        """The frame's number, from 1, as the stock processor writes it."""
        words = f"{chr(10) if number else ''}Frame{number + 1}: {_BEGIN}"
        ids: list[int] = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    def closing(self) -> Sequence[int]:
        """The token that ends a picture."""
        return self._closing


def load(checkpoint: Checkpoint, placement: Placement) -> InternVL:
    """Load a checked checkpoint.

    Raises:
        ModelError: the files are not whole, or contradict each other.
    """
    model = load_weights(InternVLForConditionalGeneration, checkpoint, placement)
    tokenizer = load_tokenizer(checkpoint)
    template = chat_template(checkpoint.folder, tokenizer, InternVL.placeholder)
    preprocessing = load_preprocessing(checkpoint.folder)
    size = tuple(model.config.vision_config.image_size)
    if (preprocessing.height, preprocessing.width) != size:
        raise ModelError(
            f"{checkpoint.source} resizes frames to {preprocessing.width}x{preprocessing.height} "
            f"but its vision tower takes {size[1]}x{size[0]}",
            "its configuration files do not belong together; fetch the model again",
        )
    return InternVL(model, tokenizer, template, placement, preprocessing)
