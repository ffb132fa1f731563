"""Presets: budgets as paper and published code compute them, and flags on top."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.method.presets import PRESETS, preset
from streamkv_cli.method.selection import searched_counts, stretched_counts
from streamkv_cli.method.threshold import CalibratedThreshold, FixedThreshold


def random_scores(layers: int, blocks: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(blocks, generator=generator) for _ in range(layers)]


@given(st.integers(1, 30), st.integers(1, 64), st.floats(0.01, 0.99), st.integers(0, 99))
def test_default_keeps_n_blocks_within_bounds(
    layers: int, frames: int, keep: float, seed: int
) -> None:
    budgets = preset("default", keep=keep).keep_budgets(random_scores(layers, frames, seed))
    assert all(0 <= k <= frames for k in budgets)
    # Every layer keeps its summary block; beyond twice the mean no layer keeps any.
    wanted = max(0, int(layers * frames * keep) - layers)
    most = max(1, int(min(frames, 2 * max(0.0, frames * keep - 1))))
    assert sum(budgets) == min(wanted, layers * most)


@given(st.integers(1, 30), st.integers(1, 64), st.floats(0.01, 0.99), st.integers(0, 99))
def test_published_presets_keep_a_block_in_every_layer(
    layers: int, frames: int, keep: float, seed: int
) -> None:
    for name in ("paper", "official"):
        assert min(preset(name, keep=keep).keep_budgets(random_scores(layers, frames, seed))) >= 1


def test_too_few_blocks_for_all_layers_go_where_one_covers_most() -> None:
    peaked, flat = torch.tensor([9.0, 0, 0, 0, 0]), torch.tensor([0.1, 0, 0, 0, 0])
    level = torch.zeros(5)
    # 0.3 x 5 x 4 = 6 blocks, of which 4 are summary blocks.
    budgets = preset("default", keep=0.3, zscore=False).keep_budgets([level, flat, peaked, level])
    assert budgets == [0, 1, 1, 0]


def test_an_asked_for_window_is_not_cut_short() -> None:
    assert preset("default").window_blocks == 76
    assert preset("default", window=20_000).window_blocks is None


@given(st.integers(1, 30), st.integers(1, 300), st.integers(1, 80), st.integers(0, 99))
def test_default_fetches_n_blocks_within_bounds(
    layers: int, stored: int, blocks: int, seed: int
) -> None:
    budgets = preset("default", blocks=blocks).fetch_budgets(random_scores(layers, stored, seed))
    most = min(stored, max(1, int(blocks * 1.5)), max(blocks, 128))
    assert all(1 <= k <= most for k in budgets)
    assert sum(budgets) == min(layers * blocks, layers * most)


def test_official_keeps_what_its_code_keeps() -> None:
    scores = random_scores(24, 20)
    counts = searched_counts(scores, int(24 * 20 * 0.6), slack=4)
    assert preset("official").keep_budgets(scores) == stretched_counts(counts, 1, 20)


def test_official_fetches_between_half_and_one_and_a_half() -> None:
    scores = random_scores(28, 500)
    counts = searched_counts(scores, 64 * 28, slack=4)
    budgets = preset("official").fetch_budgets(scores)
    assert budgets == stretched_counts(counts, 32, 96)
    assert min(budgets) == 32


def test_paper_has_no_bounds_but_the_total() -> None:
    peaked = torch.tensor([50.0] + [0.0] * 99)
    flat = torch.linspace(0, 0.01, 100)
    budgets = preset("paper", blocks=8).fetch_budgets([peaked, flat])
    assert sum(budgets) == 16
    assert budgets == [1, 15]


def test_presets_say_what_the_papers_say() -> None:
    assert (PRESETS["paper"].similarity, PRESETS["paper"].cut_on) == ("cosine", "vision")
    assert (PRESETS["official"].blocks, PRESETS["official"].local) == (64, 8)
    assert isinstance(PRESETS["official"].cut_rule(), FixedThreshold)
    assert isinstance(PRESETS["default"].cut_rule(), CalibratedThreshold)


def test_flags_replace_single_values() -> None:
    changed = preset("official", keep=0.3, threshold=None)
    assert changed.keep == 0.3
    assert changed.threshold == 0.99
    with pytest.raises(KeyError):
        preset("nonsense")
