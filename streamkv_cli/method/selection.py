"""The unified layer-adaptive selection module (paper, Algorithm 1), used to keep and to fetch.

Every layer's block scores become a probability mass; one threshold p shared by all layers says how
many blocks each layer needs to cover p of its mass, so that layers with a sharp preference take
few and layers without one take many, and all of them together take N.

Two ways to the same thing: `searched_counts` is the published binary search (with the published
code's early stop, for presets that reproduce it), `exact_budgets` solves it in closed form, honours
per-layer bounds exactly, and always spends all of N.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def mass(scores: Tensor, zscore: bool = True) -> Tensor:
    """Probability mass of each block of one layer: softmax over (z-scored) scores (Alg. 1, l. 2).

    Scores that are all equal, or a single one, carry no preference: the mass is uniform.

    Args:
        scores: [n] block scores.
        zscore: divide out mean and (unbiased) standard deviation first, as the official code does.

    Returns:
        [n] float32, sums to 1.
    """
    scores = scores.float()
    if zscore:
        spread = scores.std() if scores.numel() > 1 else scores.new_zeros(())
        centred = scores - scores.mean()
        scores = centred / spread if spread > 0 else torch.zeros_like(centred)
    return torch.softmax(scores, dim=0)


def cumulative_mass(scores: Tensor, zscore: bool = True) -> Tensor:
    """Mass sorted descending and summed up: entry k-1 is what the best k blocks cover.

    Args:
        scores: [n] block scores.

    Returns:
        [n] float32, non-decreasing, ends at 1 (up to rounding).
    """
    return mass(scores, zscore).sort(descending=True).values.cumsum(dim=0)


def searched_counts(
    scores: Sequence[Tensor], target: int, *, zscore: bool = True, slack: int = 0
) -> list[int]:
    """Blocks a layer as the official code searches them: binary search for p, stopped early.

    Equation (Alg. 1): sum over layers of min{k : cum_k >= p} = N. The code counts k from 0 and
    raises it to 1, which shifts p but reaches for the same sum. `exact_budgets` counts from 1.

    Args:
        scores: one [n_l] tensor of block scores a layer; layers may differ in length.
        target: N, the sum wanted.
        slack: stop as soon as the sum is within this of N. The official code stops within 4.

    Returns:
        One count a layer, at least 1 and at most n_l. Ties may make the sum miss N.
    """
    longest = max(len(s) for s in scores)
    covered = torch.full((len(scores), longest), float("inf"))
    for row, layer in zip(covered, scores, strict=True):
        row[: len(layer)] = cumulative_mass(layer, zscore)

    def counts(p: float) -> Tensor:
        wanted = torch.full((len(scores), 1), p)
        return torch.searchsorted(covered, wanted).clamp(min=1).flatten()

    low, high, p = 0.0, 1.0, 0.0
    while high - low > 1e-6:
        p = (low + high) / 2
        total = int(counts(p).sum())
        if abs(total - target) <= slack:
            break
        if total > target:
            high = p
        else:
            low = p
    limits = [len(s) for s in scores]
    return [min(int(c), n) for c, n in zip(counts(p), limits, strict=True)]


def stretched_counts(counts: Sequence[int], low: float, high: float) -> list[int]:
    """Bring counts into [low, high] the way the official code does, keeping their sum if it can.

    Stretched linearly so that the smallest becomes `low` and the largest `high`, rescaled to the
    old sum, rounded, clipped; what is then missing goes one by one to the smallest first, what is
    too much is taken from the largest first. At least 1 each. Equal counts are left as they are.
    Among equals numpy's default order decides, as it does in the official code.
    """
    values = np.asarray(counts, dtype=np.float64)
    if values.min() == values.max():
        return [max(1, int(v)) for v in values]
    total = values.sum()
    stretched = (values - values.min()) / (values.max() - values.min()) * (high - low) + low
    stretched = np.clip(np.round(stretched * (total / stretched.sum())), low, high)
    missing = round(float(total - stretched.sum()))
    step = 1 if missing > 0 else -1
    for layer in np.argsort(stretched * step):
        if missing == 0:
            break
        if (step > 0 and stretched[layer] < high) or (step < 0 and stretched[layer] > low):
            stretched[layer] += step
            missing -= step
    return [max(1, int(v)) for v in stretched]


def exact_budgets(
    scores: Sequence[Tensor],
    target: int,
    low: float = 1,
    high: float | None = None,
    *,
    zscore: bool = True,
    least: int = 1,
) -> list[int]:
    """Budgets K_l that solve Alg. 1 exactly within bounds, and sum to N.

    A layer takes its k-th best block as soon as p exceeds what its best k-1 blocks cover. So the
    budgets for the p that gives N are found by taking, over all layers together, the steps of
    lowest covered mass until N is spent: no search, no tie that makes the sum miss.

    Args:
        scores: one [n_l] tensor of block scores a layer.
        target: N. Raised or lowered to what the bounds allow.
        low, high: bounds of each K_l, rounded inwards, never below `least` nor above n_l.
        least: 1 as published. With 0, where N is too small for a block in every layer, the layers
            whose best block covers most have one.

    Returns:
        K_l per layer, low_l <= K_l <= high_l; they sum to min(max(N, sum low_l), sum high_l).
    """
    sizes = np.array([len(s) for s in scores])
    lows = np.minimum(max(least, int(np.ceil(low))), sizes)
    highs = sizes if high is None else np.minimum(sizes, max(1, int(np.floor(high))))
    highs = np.maximum(highs, lows)
    steps, owners = [], []
    for layer, s in enumerate(scores):
        covered = cumulative_mass(s, zscore).numpy(force=True)
        # Entry k is the cost of a layer's (k+1)-th block.
        cost = np.concatenate([-covered[:1], covered])
        steps.append(cost[lows[layer] : highs[layer]])
        owners.append(np.full(highs[layer] - lows[layer], layer))
    spend = int(np.clip(target, lows.sum(), highs.sum()) - lows.sum())
    # Stable, so that ties go to the earlier layer on every machine alike.
    order = np.argsort(np.concatenate(steps), kind="stable")[:spend]
    extra = np.bincount(np.concatenate(owners)[order], minlength=len(sizes))
    return [int(k) for k in lows + extra]


def top_blocks(scores: Tensor, budget: int, local: int = 0) -> list[int]:
    """The `budget` best blocks, the most recent `local` among them whatever their score.

    Args:
        scores: [n] scores of a layer's blocks in time order.
        budget: K_l, blocks to take.
        local: most recent blocks that are always in; when budget <= local, only the most recent.

    Returns:
        Indices of min(budget, n) blocks, in time order.
    """
    count = scores.numel()
    budget = min(budget, count)
    recent = min(local, budget)
    older = scores[: count - recent]
    best = older.topk(budget - recent).indices.tolist()
    return sorted(best) + list(range(count - recent, count))
