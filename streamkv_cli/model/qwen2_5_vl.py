"""Qwen2.5-VL: time in M-RoPE is in seconds, and the whole video is one solid of tokens."""

from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import FilmLayout
from streamkv_cli.model.qwen_vl import QwenVL, load_parts

_LEAST = 128 * 28 * 28


class Qwen25VL(QwenVL):
    """Qwen2.5-VL behind the common interface."""

    layout_type = FilmLayout

    def lay_out(self, width: int, height: int, fps: float) -> FilmLayout:
        """A grid after the picture's own size; time runs at the configuration's rate."""
        rows, columns = self.grid(width, height)
        frames = self._resolution.frames
        return FilmLayout(
            rows,
            columns,
            frames,
            seconds=frames / fps,
            rate=self.model.config.vision_config.tokens_per_second,
            text_after_time=text_stands_after_time(self.model.model),
        )


def text_stands_after_time(model: Any) -> bool:
    """Where words go on behind a video, by the stock model's own count.

    The published code goes on behind the largest position of the video. transformers 5 goes on
    behind the picture's longer side, amid the video's times. We do as the installed one does, so
    that answers are those of its `generate`, whatever a later version decides.
    """
    blocks, merge = 9, model.config.vision_config.spatial_merge_size
    kinds = torch.tensor([[0, *[2] * blocks, 0]])
    positions, _ = model.get_rope_index(
        torch.zeros_like(kinds),
        mm_token_type_ids=kinds,
        video_grid_thw=torch.tensor([[blocks, merge, merge]]),
        second_per_grid_ts=torch.tensor([1.0]),
    )
    return bool(positions[0, 0, -1] > positions[0, 0, -2])


def load(checkpoint: Checkpoint, placement: Placement, frame_tokens: int) -> Qwen25VL:
    """Load a checked checkpoint.

    Raises:
        ModelError: the files are not whole, or contradict each other.
    """
    parts = load_parts(
        Qwen2_5_VLForConditionalGeneration, checkpoint, placement, frame_tokens, _LEAST
    )
    return Qwen25VL(*parts)
