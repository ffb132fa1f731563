"""Block keys, and scores of blocks for a query: what both compression and retrieval rank by.

Shapes: n blocks, P tokens a block, h query heads, g KV heads, d head size. Keys and queries are
taken before RoPE, so that a score does not depend on where a block once stood.
"""

from typing import Literal

import torch
from torch import Tensor

Similarity = Literal["dot", "cosine"]


def block_keys(keys: Tensor) -> Tensor:
    """Mean key of each block, per KV head (paper, section 3.2: the representative vector).

    Args:
        keys: [n, g, P, d] pre-RoPE keys.

    Returns:
        [n, g, d] float32.
    """
    return keys.float().mean(dim=2)


def block_scores(queries: Tensor, keys: Tensor, similarity: Similarity = "dot") -> Tensor:
    """Score of each block in one layer: similarity of the query with the block key over all heads.

    The query is the mean over the prompt's tokens (paper, equations of 3.2 and 3.3).

    The published code repeats every KV head's key for the query heads of its group and multiplies
    the two long vectors. Summing the queries of a group first gives the same number without the
    repetition: sum_h q_h . k_g(h) = sum_g (sum_{h in g} q_h) . k_g.

    Args:
        queries: [S, h, d] of a prompt's S tokens.
        keys: [n, g, d] block keys; g divides h.
        similarity: "dot" as in the official code, "cosine" as in the paper's text.

    Returns:
        [n] float32.
    """
    query = queries.float().mean(dim=0)
    heads, size = query.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    summed = query.view(kv_heads, group, size).sum(dim=1)
    keys = keys.float()
    scores: Tensor = keys.flatten(1) @ summed.flatten()
    if similarity == "dot":
        return scores
    repeated_norms = keys.flatten(1).norm(dim=1) * group**0.5
    cosine: Tensor = scores / (repeated_norms * query.norm()).clamp_min(1e-12)
    return cosine


def zscored(scores: Tensor) -> Tensor:
    """Scores [n] in standard deviations from their mean; all zero where nothing differs."""
    if scores.numel() < 2:
        return torch.zeros_like(scores)
    spread = scores.std()
    return (scores - scores.mean()) / spread if spread > 0 else torch.zeros_like(scores)


def lifted(scores: Tensor, segments: Tensor, below: float) -> Tensor:
    """Scores by which the segments beside a good one are good as well.

    A question is alike to the picture it names, not to what came before or after it, which it may
    ask about, and whose KV the model needs to tell. So the blocks of a segment score at least as
    much as the best block of the segment before or behind it, less a step.

    Args:
        scores: [n].
        segments: [n] number of the segment each block belongs to, ascending; only neighbours differ
            by 1.
        below: the step, in standard deviations of the scores.

    Returns:
        [n], z-scored.
    """
    scores = zscored(scores.float())
    if scores.numel() < 2:
        return scores
    numbers, place = torch.unique_consecutive(segments, return_inverse=True)
    best = scores.new_full((len(numbers),), -torch.inf).scatter_reduce_(0, place, scores, "amax")
    apart = numbers.diff() != 1
    beside = torch.full_like(best, -torch.inf)
    beside[1:] = best[:-1].masked_fill(apart, -torch.inf)
    beside[:-1] = torch.maximum(beside[:-1], best[1:].masked_fill(apart, -torch.inf))
    return torch.maximum(scores, beside[place] - below)
