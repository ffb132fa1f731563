"""The language model over a video and many questions at once: each sees the video and itself.

The same weights and the same sums as transformers' own forward (a test compares them), arranged so
that a video is encoded once for all of its questions, and so that a question may see another set of
blocks in every layer, at consecutive positions, as the program serves them.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import rotate_half

from .packing import NEWLINE, Batch
from .segmented import Reading, reading_of, segment_attention

LOOKING = 2
"""Layer whose attention is told where the proof is, from where an answer begins."""


@dataclass
class Answers:
    """What the model makes of a batch.

    Attributes:
        logits: [M, vocabulary] of the answers' tokens.
        labels: [M] the right ones.
        attended: [K] log of the attention that the K provable answers pay to their source.
        retrieved: [layers, K] log of the share of the published retrieval score's softmax that
            falls on the proof.
        first: [B, N, P, D] hidden state of the video's blocks behind the first layer.
        video: the same before layer LOOKING.
    """

    logits: Tensor
    labels: Tensor
    attended: Tensor
    retrieved: Tensor
    first: Tensor
    video: Tensor


def packed_forward(model: Any, prefix: Tensor, batch: Batch, guide: bool = False) -> Answers:
    """Answer all questions of a batch.

    Args:
        model: LLaVA-OneVision.
        prefix: [I] token ids before the video.
        batch: B videos of up to N blocks of P tokens, with R rows of questions each.
        guide: also work out `attended` and `retrieved`, which are empty otherwise.
    """
    text = model.model.language_model
    embed = model.get_input_embeddings()
    before = embed(prefix).unsqueeze(0)
    video = batch.video.flatten(1, 2)
    is_newline = (batch.ids == NEWLINE).unsqueeze(-1)
    rows = torch.where(is_newline, model.model.image_newline, embed(batch.ids.clamp(min=0)))
    longest = prefix.numel() + video.shape[1] + int(batch.places.max()) + 1
    if batch.ingested is not None:  # padding of a short segment reaches as far as the longest
        longest += batch.ingested.segments.shape[2] * batch.video.shape[2]
    rotary = _Rotary(text, longest)
    attended, retrieved = torch.empty(0), []
    first = looked_at = video
    for number, layer in enumerate(text.layers):
        if number == LOOKING:
            looked_at = video
        if number == 1:
            first = video
        view = _view(batch, number, prefix.numel())
        reading = reading_of(batch, number, prefix.numel())
        before, video, rows, inside = _layer(layer, rotary, (before, video, rows), view, reading)
        if guide:
            retrieved.append(_retrieved(batch, inside.query, inside.key))
        if guide and number == LOOKING:
            attended = _attended(batch, inside, view, number)
    wanted = batch.labels != -100
    logits = model.lm_head(text.norm(rows[wanted]))
    shares = torch.stack(retrieved) if guide else torch.empty(0)
    blocks = (-1, batch.video.shape[2])
    return Answers(
        logits,
        batch.labels[wanted],
        attended,
        shares,
        first.unflatten(1, blocks),
        looked_at.unflatten(1, blocks),
    )


@dataclass
class _Inside:
    """Of one layer: queries of the rows and keys of the video before RoPE, and both after it."""

    query: Tensor
    key: Tensor
    rotated_query: Tensor
    rotated_keys: Tensor


def _retrieved(batch: Batch, query: Tensor, key: Tensor) -> Tensor:
    """Log share of the proof in a softmax over blocks of mean question query times block key.

    Args:
        query: [B, h, R, d] of the rows, before RoPE.
        key: [B, g, N x P, d] of the video, before RoPE.
    """
    groups, tokens = key.shape[1], batch.video.shape[2]
    numbers = torch.arange(batch.proof.shape[1]).view(1, -1, 1)
    own = ((batch.askers.unsqueeze(1) == numbers) & batch.asking.unsqueeze(1)).float()
    own = own / own.sum(dim=2, keepdim=True)
    mean = torch.einsum("bqr,bhrd->bhqd", own, query).unflatten(1, (groups, -1)).sum(dim=2)
    blocks = key.unflatten(2, (-1, tokens)).mean(dim=3)
    scores = torch.einsum("bgqd,bgnd->bqn", mean, blocks) * query.shape[3] ** -0.5
    there = torch.arange(scores.shape[2]) < batch.blocks.view(-1, 1, 1)
    scores = scores.masked_fill(~there, -torch.inf)
    return _log_share(scores, batch.proof)


def _attended(batch: Batch, inside: _Inside, view: "_View", layer: int) -> Tensor:
    """Log attention, mean over heads, that the row where an answer begins pays to its source."""
    share = inside.rotated_query.shape[1] // inside.rotated_keys.shape[1]
    begins = torch.zeros(batch.proof.shape[:2], dtype=torch.int64)
    for video, row in (batch.labels != -100).nonzero().flip(0).tolist():
        begins[video, batch.askers[video, row]] = row  # the first row of each is written last
    index = begins.view(*begins.shape, 1, 1).transpose(1, 2)
    size = inside.rotated_query.shape[3]
    picked = inside.rotated_query.gather(
        2, index.expand(-1, inside.rotated_query.shape[1], -1, size)
    )
    keys = inside.rotated_keys.repeat_interleave(share, dim=1)
    scores = picked @ keys.transpose(2, 3) * size**-0.5
    mask = view.mask[:, 0].gather(1, begins.unsqueeze(2).expand(-1, -1, view.mask.shape[3]))
    weights = torch.softmax(scores.masked_fill(~mask.unsqueeze(1), -torch.inf), dim=-1).mean(1)
    kept = batch.kept[layer]
    proof = batch.source.gather(
        2, kept.clamp(min=0).unsqueeze(1).expand(-1, batch.source.shape[1], -1)
    )
    proof = (proof & (kept >= 0).unsqueeze(1)).repeat_interleave(batch.video.shape[2], dim=2)
    rows = batch.ids.shape[1]
    proof = F.pad(proof, (weights.shape[2] - proof.shape[2] - rows, rows))
    mass = (weights * proof).sum(dim=2)
    return (mass[proof.any(dim=2)] + 1e-6).log()


def _log_share(scores: Tensor, chosen: Tensor) -> Tensor:
    share = scores.masked_fill(~chosen, -torch.inf).logsumexp(-1) - scores.logsumexp(-1)
    return share[chosen.any(dim=-1)]


@dataclass
class _View:
    """What the questions see of their video in one layer.

    Attributes:
        picked: [B, n] tokens of the kept blocks; padding points at token 0.
        mask: [B, 1, R, I + n + R] what each row may attend to.
        places: [B, R] position of each row.
    """

    picked: Tensor
    mask: Tensor
    places: Tensor


def _view(batch: Batch, layer: int, prefix: int) -> _View:
    kept, tokens = batch.kept[layer], batch.video.shape[2]
    picked = (kept.clamp(min=0).unsqueeze(-1) * tokens + torch.arange(tokens)).flatten(1)
    there = (kept >= 0).repeat_interleave(tokens, dim=1)
    rows = batch.ids.shape[1]
    same = batch.askers.unsqueeze(2) == batch.askers.unsqueeze(1)
    own = same & (batch.places.unsqueeze(2) >= batch.places.unsqueeze(1))
    seen = F.pad(there, (prefix, 0), value=True).unsqueeze(1).expand(-1, rows, -1)
    places = batch.places + prefix + there.sum(dim=1, keepdim=True)
    return _View(picked, torch.cat([seen, own], dim=2).unsqueeze(1), places)


class _Rotary:
    """Rotary embedding with its tables computed once."""

    def __init__(self, text: Any, longest: int) -> None:
        positions = torch.arange(longest).unsqueeze(0)
        cos, sin = text.rotary_emb(torch.zeros(1), positions)
        self.cos, self.sin = cos[0], sin[0]

    def __call__(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate x [B, heads, n, d] at positions [n] or [B, n]."""
        cos, sin = self.cos[positions], self.sin[positions]
        if positions.dim() == 2:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return x * cos + rotate_half(x) * sin


def _layer(
    layer: Any,
    rotary: _Rotary,
    parts: tuple[Tensor, Tensor, Tensor],
    view: _View,
    reading: Reading | None,
) -> tuple[Tensor, Tensor, Tensor, _Inside]:
    """One decoder layer over the prefix, the videos, and the rows of the questions."""
    before, video, rows = parts
    attention = layer.self_attn
    prefix, length = before.shape[1], video.shape[1]
    size = attention.head_dim
    both = torch.cat([video, rows], dim=1)
    q_before, k_before, v_before = _projected(attention, layer.input_layernorm(before), size)
    q, k, v = _projected(attention, layer.input_layernorm(both), size)
    at = torch.arange(prefix + length)
    k_before = rotary(k_before, at[:prefix])
    front = F.scaled_dot_product_attention(
        rotary(q_before, at[:prefix]), k_before, v_before, is_causal=True, enable_gqa=True
    )
    k_before, v_before = (x.expand(len(video), -1, -1, -1) for x in (k_before, v_before))
    if reading is None:
        seen = _video_attention(
            rotary(q[:, :, :length], at[prefix:]),
            torch.cat([k_before, rotary(k[:, :, :length], at[prefix:])], dim=2),
            torch.cat([v_before, v[:, :, :length]], dim=2),
        )
    else:
        own = (q[:, :, :length], k[:, :, :length], v[:, :, :length])
        seen = segment_attention(own, (k_before, v_before), reading, rotary)
    index = view.picked.view(len(video), 1, -1, 1).expand(-1, k.shape[1], -1, size)
    k_video = rotary(k[:, :, :length].gather(2, index), prefix + torch.arange(index.shape[2]))
    v_video = v[:, :, :length].gather(2, index)
    q_rows = rotary(q[:, :, length:], view.places)
    k_all = torch.cat([k_before, k_video, rotary(k[:, :, length:], view.places)], dim=2)
    answers = F.scaled_dot_product_attention(
        q_rows,
        k_all,
        torch.cat([v_before, v_video, v[:, :, length:]], dim=2),
        attn_mask=view.mask,
        enable_gqa=True,
    )
    mixed = torch.cat([seen, answers], dim=2).transpose(1, 2).flatten(2)
    both = both + attention.o_proj(mixed)
    both = both + layer.mlp(layer.post_attention_layernorm(both))
    before = before + attention.o_proj(front.transpose(1, 2).flatten(2))
    before = before + layer.mlp(layer.post_attention_layernorm(before))
    inside = _Inside(q[:, :, length:], k[:, :, :length], q_rows, k_all)
    return before, both[:, :length], both[:, length:], inside


def _projected(attention: Any, x: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, h, n, d], keys and values [B, g, n, d], not rotated."""

    def heads(projection: Any) -> Tensor:
        out: Tensor = projection(x)
        return out.unflatten(-1, (-1, size)).transpose(1, 2)

    return heads(attention.q_proj), heads(attention.k_proj), heads(attention.v_proj)


def _video_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Lower-right causal attention, [B, h, n, d]."""
    rows, total = q.shape[2], k.shape[2]
    mask = torch.ones(rows, total, dtype=torch.bool).tril(total - rows)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
