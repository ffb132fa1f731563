"""Training videos as an ingest leaves them: each segment read after what was kept of those before.

The program never encodes a long video in one context. A segment sees the init prompt, the window of
blocks that were kept of earlier segments (others in each layer) and itself, and a question sees
kept blocks only. Which blocks are kept is drawn at random here, in the numbers that the method
keeps: which ones the guidance prompt would choose is known only after the layer before has run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .packing import Video

WINDOW = 76
"""Most blocks in a window: as the program's default."""
KEPT = (0.05, 0.45)
"""Least and largest kept fraction of a video."""
EVERYTHING = 0.5
"""Share of videos of which everything is kept, where there are no summary blocks."""
ON_TOP = 0.15
"""Share of videos whose summary blocks are kept on top, as the published presets count."""

SPREAD = 0.3
"""Share of videos of which evenly spread frames are kept instead of any."""


@dataclass
class Ingested:
    """How a batch of B videos is cut into up to S segments of up to T blocks.

    Attributes:
        segments: [B, S, T] blocks of each segment in time order, padded with -1.
        windows: per layer, [B, S, W] blocks that a segment sees of those before it, likewise.
        slots: [B, N] where each block stands in `segments`, counted through a video's S x T.
    """

    segments: Tensor
    windows: list[Tensor]
    slots: Tensor


def ingested(
    rng: np.random.Generator, videos: Sequence[Video], layers: int
) -> tuple[Ingested, list[Tensor]]:
    """Draw what is kept of each video in each layer.

    Returns:
        The segments with their windows, and per layer [B, K] the kept blocks, padded with -1.
    """
    cut = [_segments(video) for video in videos]
    kept = [_kept(rng, video, layers) for video in videos]
    windows = []
    for layer in range(layers):
        seen = []
        for segments, stored in zip(cut, kept, strict=True):
            before = np.searchsorted(stored[layer], [segment[0] for segment in segments])
            seen.append([stored[layer][max(0, n - WINDOW) : n] for n in before])
        windows.append(_padded(seen))
    own = _padded(cut)
    longest = max(len(video.blocks) for video in videos)
    slots = torch.zeros(len(videos), longest, dtype=torch.int64)
    for row, flat in enumerate(own.flatten(1)):
        there = (flat >= 0).nonzero().flatten()
        slots[row, flat[there]] = there
    padded = [_padded([[k[layer] for k in kept]])[0] for layer in range(layers)]
    return Ingested(own, windows, slots), padded


def _segments(video: Video) -> list[np.ndarray]:
    numbers = np.array(video.segments)
    return np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers)) + 1)


def _kept(rng: np.random.Generator, video: Video, layers: int) -> list[np.ndarray]:
    """Per layer, the kept blocks of a video in time order."""
    everything = not video.summed and rng.random() < EVERYTHING
    keep = 1.0 if everything else float(rng.uniform(*KEPT))
    counted = video.summed and rng.random() >= ON_TOP
    spread = rng.random() < SPREAD
    kept: list[list[int]] = [[] for _ in range(layers)]
    for segment in _segments(video):
        frames = segment[:-1] if video.summed else segment
        least = 0 if video.summed else 1
        for layer, count in enumerate(_budgets(rng, len(frames), keep, layers, counted, least)):
            kept[layer] += _chosen(rng, frames, count, spread)
            kept[layer] += [int(segment[-1])] if video.summed else []
    return [np.array(rows) for rows in kept]


def _budgets(
    rng: np.random.Generator, frames: int, keep: float, layers: int, counted: bool, least: int
) -> list[int]:
    """Blocks of a segment that each layer keeps beside its summary block.

    As `Method.keep_budgets` with its bounds, but spread over the layers at random.
    """
    if keep == 1:
        return [frames] * layers
    most = max(least, min(frames, max(1, int(2 * (frames * keep - counted)))))
    left = max(0, int(layers * frames * keep) - layers * counted) - layers * least
    counts = [least] * layers
    while left > 0 and min(counts) < most:
        layer = int(rng.choice([i for i, count in enumerate(counts) if count < most]))
        counts[layer] += 1
        left -= 1
    return counts


def _chosen(rng: np.random.Generator, frames: np.ndarray, count: int, spread: bool) -> list[int]:
    if spread and count:
        first = int(rng.integers(len(frames)))
        step = len(frames) / count
        return sorted(int(frames[(first + int(i * step)) % len(frames)]) for i in range(count))
    return sorted(int(i) for i in rng.permutation(frames)[:count])


def _padded(rows: Sequence[Sequence[np.ndarray]]) -> Tensor:
    """[B, S, longest] of B x S arrays, padded with -1."""
    most = max(map(len, rows))
    longest = max(1, max(len(one) for row in rows for one in row))
    out = torch.full((len(rows), most, longest), -1)
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            out[i, j, : len(one)] = torch.from_numpy(one)
    return out
