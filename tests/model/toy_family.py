"""A whole family in one file: LLaVA-OneVision that sees every frame upside down."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.loading import load_tokenizer, load_weights
from streamkv_cli.model.preprocess import load_preprocessing
from streamkv_cli.model.prompts import chat_template
from streamkv_cli.model.video_llm import FrameFeatures, VideoLLM


class Toy(VideoLLM):
    """Reads no newline behind the video, and words before and behind each picture."""

    placeholder = "<video>"

    def lay_out(self, width: int, height: int, fps: float) -> Layout:
        return Layout(2, 2, head=len(self.heading(0, 0, 999)), tail=len(self.closing()))

    def preprocess(self, frames: Sequence[np.ndarray]) -> Tensor:
        flipped = [frame[::-1].copy() for frame in frames]
        return self.preprocessing(flipped, self.placement.device).to(self.placement.dtype)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> FrameFeatures:
        output = self.model.get_video_features(pixels.unsqueeze(0), return_dict=True)
        tokens = output.pooler_output[0, :-1].unflatten(0, (len(pixels), -1))
        return FrameFeatures(tokens, output.last_hidden_state.float().mean(dim=1))

    def heading(self, start: float, end: float, number: int) -> Sequence[int]:
        ids: list[int] = self.tokenizer(f"[{number}", add_special_tokens=False)["input_ids"]
        return ids

    def closing(self) -> Sequence[int]:
        ids: list[int] = self.tokenizer("]", add_special_tokens=False)["input_ids"]
        return ids


def load(checkpoint: Checkpoint, placement: Placement) -> Toy:
    model = load_weights(LlavaOnevisionForConditionalGeneration, checkpoint, placement)
    tokenizer = load_tokenizer(checkpoint)
    template = chat_template(checkpoint.folder, tokenizer, Toy.placeholder)
    toy = Toy(model, tokenizer, template, placement)
    toy.preprocessing = load_preprocessing(checkpoint.folder)
    return toy
