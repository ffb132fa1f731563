"""Attention of videos that are read segment by segment, all segments of a batch at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .packing import Batch


@dataclass
class Reading:
    """How one layer reads videos segment by segment, all of the S segments at once.

    Attributes:
        own: [B, S x T] tokens of each segment; padding points at token 0.
        window: [B, S x W] tokens each segment sees of those before it, likewise.
        places: [B x S, T] positions of its own tokens, behind prefix and window.
        mask: [B x S, 1, T, I + W + T] what each of its tokens may attend to.
        back: [B, N x P] where each of the video's tokens is among `own`.
    """

    own: Tensor
    window: Tensor
    places: Tensor
    mask: Tensor
    back: Tensor


def reading_of(batch: Batch, layer: int, prefix: int) -> Reading | None:
    """How a layer reads a batch behind `prefix` tokens; None where it is read in one context."""
    if batch.ingested is None:
        return None
    tokens = batch.video.shape[2]
    segments, window = (
        x.repeat_interleave(tokens, dim=2).flatten(0, 1)
        for x in (batch.ingested.segments, batch.ingested.windows[layer])
    )
    within = torch.arange(tokens)
    before = (window >= 0).sum(dim=1, keepdim=True)
    length = segments.shape[1]
    places = prefix + before + torch.arange(length)
    seen = F.pad(window >= 0, (prefix, 0), value=True).unsqueeze(1).expand(-1, length, -1)
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(len(segments), -1, -1)

    def rows(blocks: Tensor) -> Tensor:
        return (blocks.clamp(min=0).unsqueeze(-1) * tokens + within).flatten(1)

    return Reading(
        rows(batch.ingested.segments),
        rows(batch.ingested.windows[layer]),
        places,
        torch.cat([seen, causal], dim=2).unsqueeze(1),
        rows(batch.ingested.slots),
    )


def segment_attention(
    own: tuple[Tensor, Tensor, Tensor],
    before: tuple[Tensor, Tensor],
    reading: Reading,
    rotary: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Each segment attends to prefix, window and itself, at consecutive positions.

    Args:
        own: queries [B, h, N x P, d], keys and values of the video, not rotated.
        before: keys, rotated, and values [B, g, I, d] of the prefix.
        rotary: turns keys or queries to positions.

    Returns:
        [B, h, N x P, d].
    """
    count = len(reading.places)
    videos, prefix = len(reading.own), before[0].shape[2]

    def by_segment(x: Tensor, tokens: Tensor) -> Tensor:
        """[B x S, heads, n, d] of x [B, heads, N x P, d]."""
        index = tokens.view(videos, 1, -1, 1).expand(-1, x.shape[1], -1, x.shape[3])
        picked = x.gather(2, index).unflatten(2, (count // videos, -1))
        return picked.transpose(1, 2).flatten(0, 1)

    q = rotary(by_segment(own[0], reading.own), reading.places)
    k_own = rotary(by_segment(own[1], reading.own), reading.places)
    k_window = by_segment(own[1], reading.window)
    k_window = rotary(k_window, prefix + torch.arange(k_window.shape[2]))
    k_before, v_before = (x.repeat_interleave(count // videos, dim=0) for x in before)
    v = [v_before, by_segment(own[2], reading.window), by_segment(own[2], reading.own)]
    seen = F.scaled_dot_product_attention(
        q,
        torch.cat([k_before, k_window, k_own], dim=2),
        torch.cat(v, dim=2),
        attn_mask=reading.mask,
        enable_gqa=True,
    )
    seen = seen.unflatten(0, (videos, -1)).transpose(1, 2).flatten(2, 3)
    index = reading.back.view(videos, 1, -1, 1).expand(-1, seen.shape[1], -1, seen.shape[3])
    return seen.gather(2, index)
