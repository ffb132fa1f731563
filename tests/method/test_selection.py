"""Algorithm 1: the published numbers, and what must hold for any scores."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.method.selection import (
    cumulative_mass,
    exact_budgets,
    mass,
    searched_counts,
    stretched_counts,
    top_blocks,
)

PUBLISHED = json.loads((Path(__file__).parent / "published_selection.json").read_text())

scores_of_a_layer = st.lists(
    st.floats(-1e3, 1e3, width=32), min_size=1, max_size=24
).map(torch.tensor)  # fmt: skip
scores_of_layers = st.lists(scores_of_a_layer, min_size=1, max_size=8)


@pytest.mark.parametrize("case", PUBLISHED["budgets"], ids=range(len(PUBLISHED["budgets"])))
def test_search_and_stretch_give_the_published_numbers(case: dict) -> None:
    scores = [torch.tensor(layer) for layer in case["scores"]]
    counts = searched_counts(scores, case["target"], slack=4)
    assert counts == case["threshold_counts"]
    assert stretched_counts(counts, case["low"], case["high"]) == case["bounded"]


@given(scores_of_layers, st.integers(0, 200), st.integers(1, 30), st.integers(0, 30))
def test_exact_budgets_spend_exactly_n_within_bounds(
    scores: list[torch.Tensor], target: int, low: int, more: int
) -> None:
    budgets = exact_budgets(scores, target, low, low + more)
    sizes = [len(s) for s in scores]
    lows = [min(low, n) for n in sizes]
    highs = [min(low + more, n) for n in sizes]
    assert all(a <= k <= b for a, k, b in zip(lows, budgets, highs, strict=True))
    assert all(k >= 1 for k in budgets)
    assert sum(budgets) == min(max(target, sum(lows)), sum(highs))


@given(scores_of_layers, st.integers(1, 100))
def test_one_threshold_explains_the_exact_budgets(scores: list[torch.Tensor], target: int) -> None:
    """No layer's next step is cheaper than a step another layer took: that is what p means."""
    budgets = exact_budgets(scores, target)
    covered = [cumulative_mass(s) for s in scores]
    taken = [float(c[k - 2]) for c, k in zip(covered, budgets, strict=True) if k >= 2]
    open_ = [float(c[k - 1]) for c, k in zip(covered, budgets, strict=True) if k < len(c)]
    if taken and open_:
        assert max(taken) <= min(open_)


@given(scores_of_layers, st.integers(1, 100), st.integers(0, 5))
def test_searched_counts_give_no_empty_layer(
    scores: list[torch.Tensor], target: int, slack: int
) -> None:
    counts = searched_counts(scores, target, slack=slack)
    assert all(1 <= k <= len(s) for k, s in zip(counts, scores, strict=True))


def test_searched_counts_reach_the_target_where_no_ties_prevent_it() -> None:
    torch.manual_seed(0)
    scores = [torch.randn(50) for _ in range(6)]
    for target in (12, 60, 150, 280):
        assert abs(sum(searched_counts(scores, target)) - target) <= 1


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 20), st.integers(0, 40)
)
def test_stretched_counts_stay_within_bounds(counts: list[int], low: int, more: int) -> None:
    bounded = stretched_counts(counts, low, low + more)
    if len(set(counts)) > 1:
        assert all(low <= k <= low + more for k in bounded)
    else:
        assert bounded == counts
    assert all(k >= 1 for k in bounded)


@given(scores_of_a_layer)
def test_mass_is_a_distribution_in_the_order_of_the_scores(scores: torch.Tensor) -> None:
    for zscore in (True, False):
        m = mass(scores, zscore)
        assert torch.isfinite(m).all()
        assert float(m.sum()) == pytest.approx(1, abs=1e-5)
        order = scores.argsort()
        assert (m[order].diff() >= 0).all()


def test_a_layer_without_preference_takes_more_than_one_with() -> None:
    sharp = torch.tensor([9.0] + [0.0] * 19)
    flat = torch.zeros(20)
    budgets = exact_budgets([sharp, flat], target=16)
    assert budgets[0] < budgets[1]
    assert sum(budgets) == 16


@given(scores_of_a_layer, st.integers(1, 30), st.integers(0, 30))
def test_top_blocks_are_the_best_and_the_most_recent(
    scores: torch.Tensor, budget: int, local: int
) -> None:
    rows = top_blocks(scores, budget, local)
    count = len(scores)
    assert rows == sorted(set(rows))
    assert len(rows) == min(budget, count)
    recent = min(local, budget, count)
    assert set(range(count - recent, count)) <= set(rows)
    by_score = [r for r in rows if r < count - recent]
    left_out = [r for r in range(count - recent) if r not in rows]
    if by_score and left_out:
        assert min(scores[r] for r in by_score) >= max(scores[r] for r in left_out)
