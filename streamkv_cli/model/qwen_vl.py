"""What the Qwen-VL families share: a tower for any grid of patches, two frames a patch, M-RoPE."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.model.loading import load_tokenizer, load_weights
from streamkv_cli.model.preprocess import Preprocessing, load_preprocessing
from streamkv_cli.model.prompts import chat_template
from streamkv_cli.model.resolution import Resolution, load_resolution
from streamkv_cli.model.video_llm import FrameFeatures, VideoLLM


class QwenVL(VideoLLM):
    """A Qwen-VL behind the common interface.

    A block is one temporal patch: two sampled frames, of the size that the frame's own size and
    the budget of tokens give. An odd last frame is doubled, as the stock processor does it.
    """

    placeholder = "<|video_pad|>"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        template: str,
        placement: Placement,
        preprocessing: Preprocessing,
        resolution: Resolution,
    ) -> None:
        super().__init__(model, tokenizer, template, placement)
        self._preprocessing = preprocessing
        self._resolution = resolution

    def preprocess(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Frames uint8 [H, W, 3] of one size -> [T, 2, 3, H', W'] in the model's dtype."""
        each = self._resolution.frames
        frames = [*frames, *[frames[-1]] * (-len(frames) % each)]
        size = self._resolution.size(*frames[0].shape[:2])
        pixels = self._preprocessing(frames, self.placement.device, size)
        return pixels.to(self.placement.dtype).unflatten(0, (-1, each))

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> FrameFeatures:
        """[T, 2, 3, H', W'] -> merged, projected tokens and tower means."""
        patches, (rows, columns) = self._patches(pixels)
        shape = torch.tensor([[len(pixels), rows, columns]], device=pixels.device)
        output = self.model.model.get_video_features(patches, shape, return_dict=True)
        tokens = output.pooler_output[0].unflatten(0, (len(pixels), -1))
        seen = output.last_hidden_state.unflatten(0, (len(pixels), -1)).float().mean(dim=1)
        return FrameFeatures(self._with_early(tokens, output), seen, tokens.shape[-1])

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of visual tokens of a picture."""
        high, wide = self._resolution.size(height, width)
        return high // self._resolution.unit, wide // self._resolution.unit

    def _with_early(self, tokens: Tensor, output: Any) -> Tensor:
        """Tokens [T, V, D] with what early layers get besides behind them, in D."""
        return tokens

    def _patches(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Patches as the tower reads them, [T x rows x columns, 3 x 2 x patch x patch].

        Patches that become one visual token are neighbours in this order.
        """
        patch, merge = self._resolution.patch, self._resolution.merge
        rows, columns = pixels.shape[3] // patch, pixels.shape[4] // patch
        cut = pixels.unflatten(4, (columns // merge, merge, patch))
        cut = cut.unflatten(3, (rows // merge, merge, patch))
        # [T, 2, 3, rows', merge, patch, columns', merge, patch]
        return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(len(pixels) * rows * columns, -1), (
            rows,
            columns,
        )


def load_parts(
    stock: type,
    checkpoint: Checkpoint,
    placement: Placement,
    tokens: int,
    least: int,
    enlarge: bool = False,
) -> tuple[Any, Any, str, Placement, Preprocessing, Resolution]:
    """What a family of this kind is made of.

    Args:
        stock: the transformers class.
        tokens: the budget of a block.
        least: pixels of the family's smallest picture.
        enlarge: as in `Resolution`.

    Raises:
        ModelError: the files are not whole, or contradict each other.
    """
    model = load_weights(stock, checkpoint, placement)
    tokenizer = load_tokenizer(checkpoint)
    vision = model.config.vision_config
    resolution = load_resolution(
        checkpoint.folder,
        vision.patch_size,
        vision.spatial_merge_size,
        vision.temporal_patch_size,
        tokens,
        least,
        enlarge,
    )
    return (
        model,
        tokenizer,
        chat_template(checkpoint.folder, tokenizer, QwenVL.placeholder),
        placement,
        load_preprocessing(checkpoint.folder),
        resolution,
    )
