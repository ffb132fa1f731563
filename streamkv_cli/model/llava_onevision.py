"""LLaVA-OneVision: SigLIP tower, two-layer projector, Qwen2 text model, one newline per video."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from streamkv_cli.errors import ModelError
from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.loading import load_tokenizer, load_weights
from streamkv_cli.model.preprocess import Preprocessing, load_preprocessing
from streamkv_cli.model.prompts import chat_template
from streamkv_cli.model.video_llm import FrameFeatures, VideoLLM


class LlavaOnevision(VideoLLM):
    """LLaVA-OneVision behind the common interface.

    A video is its frames' tokens followed by one learned newline. The newline ends the video, so
    it is read with the question and never stored.
    """

    placeholder = "<video>"
    after_video_extra = 1

    def __init__(
        self,
        model: LlavaOnevisionForConditionalGeneration,
        tokenizer: Any,
        template: str,
        placement: Placement,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(model, tokenizer, template, placement)
        self._preprocessing = preprocessing

    def lay_out(self, width: int, height: int, fps: float) -> Layout:
        """Every frame is resized to the tower's square, and its patches are pooled two by two."""
        vision = self.model.config.vision_config
        side = -(-(vision.image_size // vision.patch_size) // 2)
        return Layout(side, side)

    def preprocess(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Frames uint8 [H, W, 3] of one size -> [T, 3, side, side] in the model's dtype."""
        return self._preprocessing(frames, self.placement.device).to(self.placement.dtype)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> FrameFeatures:
        """[T, 3, side, side] -> projected, pooled tokens [T, P, D] and tower means [T, D']."""
        output = self.model.get_video_features(pixels.unsqueeze(0), return_dict=True)
        tokens = output.pooler_output[0, :-1]  # the last row is the newline
        tokens = tokens.unflatten(0, (len(pixels), -1))
        return FrameFeatures(tokens, output.last_hidden_state.float().mean(dim=1))

    def after_video(self, ids: Tensor) -> Tensor:
        """The newline that ends the video, then the prompt's own tokens: [1, 1 + S, D]."""
        newline = self.model.model.image_newline.view(1, 1, -1)
        return torch.cat([newline, self.model.get_input_embeddings()(ids)], dim=1)


def load(checkpoint: Checkpoint, placement: Placement) -> LlavaOnevision:
    """Load a checked checkpoint.

    Raises:
        ModelError: the files contradict each other, or ask for attention that is not supported.
    """
    model = load_weights(LlavaOnevisionForConditionalGeneration, checkpoint, placement)
    tokenizer = load_tokenizer(checkpoint)
    template = chat_template(checkpoint.folder, tokenizer, LlavaOnevision.placeholder)
    preprocessing = load_preprocessing(checkpoint.folder)
    side = model.config.vision_config.image_size
    if (preprocessing.height, preprocessing.width) != (side, side):
        raise ModelError(
            f"{checkpoint.source} resizes frames to {preprocessing.width}x{preprocessing.height} "
            f"but its vision tower takes {side}x{side}",
            "its configuration files do not belong together; fetch the model again",
        )
    return LlavaOnevision(model, tokenizer, template, placement, preprocessing)
