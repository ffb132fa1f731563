"""Encode one segment and keep what the guidance prompt attends to (design 3.2 to 3.5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from store import Codec, Geometry, LayerBlocks
from streamkv_cli.errors import ModelError, VideoError
from streamkv_cli.method.presets import Method
from streamkv_cli.method.scoring import block_keys
from streamkv_cli.method.segmenter import Segment, summary_features
from streamkv_cli.method.selection import top_blocks
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.window import Window

_AT_ONCE = 1 << 24
"""Bytes of blocks that go through the codec together: few calls, little memory."""


@dataclass(frozen=True)
class Compressed:
    """A segment as it goes to the store.

    Attributes:
        layers: per layer, the kept blocks on the CPU as the codec writes them, the summary block
            last.
        summary: whether there is a summary block.
        seen: blocks before compression in all layers, without the summary block.
        kept: blocks that go to the store in all layers, with the summary block.
        skips: of each block of the segment, the summary block last, its unused first slots.
    """

    layers: list[LayerBlocks]
    summary: bool
    seen: int
    kept: int
    skips: list[int]


def compress_segment(
    segment: Segment,
    model: VideoLLM,
    layout: Layout,
    method: Method,
    window: Window,
    guidance: Sequence[int],
    codec: Codec,
    geometry: Geometry,
) -> Compressed:
    """Encode `[segment | summary block | guidance prompt]` after the window; keep K_l blocks.

    Without a guidance prompt (`keep` 1) every block is kept. What is kept, the summary block
    included, also becomes the newest part of the window: as it will be read back, not as it was
    computed, so that an interrupted ingest restores it exactly.

    Raises:
        ModelError: the codec cannot write what the model computed.
    """
    features = segment.features
    frames = len(features)
    lossless = method.keeps_everything
    summary = method.summary and not lossless
    headings = [model.heading(piece.start, piece.end, piece.number) for piece in segment.pieces]
    if summary:
        features = torch.cat([features, summary_features(features).unsqueeze(0)])
        headings.append(_summary_heading(segment, model))
    skips = [layout.head - len(heading) for heading in headings]
    if min(skips) < 0:
        raise VideoError(
            f"at {segment.pieces[-1].end:.0f} s the words for its time or number are longer than "
            f"the {layout.head} tokens a block has for them",
            "cut so long a stream into parts",
        )
    encoded = model.encode(features, layout, window.context, window.place, guidance, headings)
    # A block is found by its picture; words around it would make all keys alike.
    keys = [block_keys(blocks[:, 0, :, layout.visual]) for blocks in encoded.blocks]
    kept = _all(frames, len(keys)) if lossless else _kept(encoded.guidance, keys, frames, method)
    layers = []
    for some in _together(kept, summary, encoded.blocks):
        rows = {layer: [*kept[layer], frames] if summary else kept[layer] for layer in some}
        packed = _encoded(codec, torch.cat([encoded.blocks[i][rows[i]] for i in some]), segment)
        found = torch.cat([keys[i][rows[i]] for i in some])
        counts = [len(rows[layer]) for layer in some]
        each = (codec.decode(packed, geometry), packed.cpu(), found.cpu())
        for layer, read, written, key in zip(some, *(t.split(counts) for t in each), strict=True):
            window.add(layer, read, [skips[row] for row in rows[layer]])
            layers.append(LayerBlocks(rows[layer], written, key))
    stored = sum(len(layer.blocks) for layer in layers)
    return Compressed(layers, summary, frames * len(kept), stored, skips)


def _together(
    kept: Sequence[Sequence[int]], summary: bool, blocks: Sequence[Tensor]
) -> Iterator[list[int]]:
    """Layers whose blocks are written at one go: as many as fit `_AT_ONCE`, on one device."""
    some: list[int] = []
    size = 0
    for layer, rows in enumerate(kept):
        own = (len(rows) + summary) * blocks[layer][:1].nbytes
        if some and (size + own > _AT_ONCE or blocks[layer].device != blocks[some[0]].device):
            yield some
            some, size = [], 0
        some.append(layer)
        size += own
    if some:
        yield some


def _summary_heading(segment: Segment, model: VideoLLM) -> Sequence[int]:
    """Words before a summary block: those of the middle of its segment, from begin to end."""
    first, last = segment.pieces[0], segment.pieces[-1]
    return model.heading(first.start, last.end, (first.number + last.number) // 2)


def _encoded(codec: Codec, blocks: Tensor, segment: Segment) -> Tensor:
    try:
        return codec.encode(blocks)
    except ValueError as error:
        raise ModelError(
            f"the KV of segment {segment.number} ({segment.pieces[0].start:.1f} s on) cannot be "
            f"written: {error}",
            "compute with --dtype bfloat16 or float32; --kv-dtype raw takes what comes",
        ) from None


def _all(frames: int, layers: int) -> list[list[int]]:
    return [list(range(frames)) for _ in range(layers)]


def _kept(
    guidance: Sequence[Tensor], keys: Sequence[Tensor], frames: int, method: Method
) -> list[list[int]]:
    """Blocks kept in each layer: the best K_l by guidance score, in time order."""
    scores = [
        method.keep_scores(queries, layer_keys[:frames])
        for queries, layer_keys in zip(guidance, keys, strict=True)
    ]
    budgets = method.keep_budgets(scores)
    return [top_blocks(s, k) for s, k in zip(scores, budgets, strict=True)]
