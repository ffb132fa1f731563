"""Qwen3-VL (dense): every block is a picture of its own, and its time stands before it as words.

Three things are this family's own. The words before a block's picture are stored with the block, so
a fetched block still says when it was seen. Features of early tower layers are added to the first
text layers (DeepStack); they travel with the projected features, averaged like these. Queries and
keys are normalised before RoPE; it is the normalised ones that are stored and compared.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import PlaneLayout
from streamkv_cli.model.qwen_vl import QwenVL, load_parts

_LEAST = 4096
_LATEST = 999_999.9
"""Seconds: the longest words for a time have slots of their own in a block."""


class Qwen3VL(QwenVL):
    """Qwen3-VL behind the common interface."""

    layout_type = PlaneLayout

    def lay_out(self, width: int, height: int, fps: float) -> PlaneLayout:
        """A grid after the picture's own size, with slots for its time."""
        rows, columns = self.grid(width, height)
        head = len(self.heading(_LATEST, _LATEST, 0))
        return PlaneLayout(
            rows, columns, self._resolution.frames, head=head, tail=len(self.closing())
        )

    def heading(self, start: float, end: float, number: int) -> Sequence[int]:
        """The mean time of a block's frames, as the stock processor writes it."""
        time = f"<{(start + end) / 2:.1f} seconds>"
        words: list[int] = self.tokenizer(time, add_special_tokens=False)["input_ids"]
        return [*words, self.model.config.vision_start_token_id]

    def closing(self) -> Sequence[int]:
        """The token that ends a picture."""
        return (self.model.config.vision_end_token_id,)

    def early(self, features: Tensor, rows: Tensor) -> dict[str, Any]:
        """Features of early tower layers, one tensor a text layer."""
        size = self.model.config.get_text_config().hidden_size
        layers = features[..., size:].flatten(0, 1).split(size, dim=-1)
        return {"visual_pos_masks": rows.unsqueeze(0), "deepstack_visual_embeds": list(layers)}

    def _with_early(self, tokens: Tensor, output: Any) -> Tensor:
        early = [feature[0].unflatten(0, tokens.shape[:2]) for feature in output.deepstack_features]
        return torch.cat([tokens, *early], dim=-1)


def load(checkpoint: Checkpoint, placement: Placement, frame_tokens: int) -> Qwen3VL:
    """Load a checked checkpoint.

    Raises:
        ModelError: the files are not whole, or contradict each other.
    """
    parts = load_parts(
        Qwen3VLForConditionalGeneration, checkpoint, placement, frame_tokens, _LEAST, enlarge=True
    )
    return Qwen3VL(*parts)
