"""Scores of blocks: equal to the published arithmetic over repeated heads."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.method.scoring import block_keys, block_scores, lifted, zscored


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
def test_scores_are_those_of_repeated_heads(group: int, g: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(group * g, 8, generator=generator)
    keys = torch.randn(n, g, 8, generator=generator)
    repeated = keys.repeat_interleave(group, dim=1).flatten(1)
    dot = repeated @ query.flatten()
    torch.testing.assert_close(block_scores(query[None], keys), dot, atol=1e-4, rtol=1e-4)
    cosine = F.cosine_similarity(repeated, query.flatten()[None])
    torch.testing.assert_close(
        block_scores(query[None], keys, "cosine"), cosine, atol=1e-4, rtol=1e-4
    )


def test_block_keys_are_means_over_tokens() -> None:
    keys = torch.arange(2 * 3 * 4 * 5, dtype=torch.bfloat16).view(2, 3, 4, 5)
    means = block_keys(keys)
    assert means.dtype == torch.float32
    assert means[1, 2, 3] == pytest.approx(keys[1, 2, :, 3].float().mean().item())


def test_scores_of_no_blocks_are_empty() -> None:
    assert block_scores(torch.randn(3, 4, 8), torch.empty(0, 2, 8)).shape == (0,)


def test_what_stands_beside_a_good_segment_is_good_too() -> None:
    scores = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0, 0.0])
    segments = torch.tensor([3, 4, 5, 5, 6, 9])
    ranking = lifted(scores, segments, 0.5)
    # The match itself, then what is in the segments before and behind it; the rest by their scores.
    assert ranking.argmax() == 2
    assert set(ranking.topk(3).indices.tolist()) == {1, 2, 4}
    assert ranking[1] == ranking[4] == ranking[2] - 0.5
    assert ranking[0] == ranking[3] == ranking[5] == ranking.min()


def test_a_gap_between_segments_has_no_neighbours() -> None:
    scores = torch.tensor([5.0, 0.0, 1.0])
    apart = lifted(scores, torch.tensor([1, 3, 1 << 32]), 0.1)
    torch.testing.assert_close(apart, zscored(scores))


@given(st.integers(0, 12), st.integers(0, 2**31), st.floats(0, 3))
def test_no_block_is_ever_ranked_below_its_own_score(n: int, seed: int, below: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, generator=generator)
    segments = torch.randint(0, 6, (n,), generator=generator).sort().values
    ranking = lifted(scores, segments, below)
    assert ranking.shape == (n,)
    assert bool((ranking >= zscored(scores) - 1e-6).all())


def test_equal_scores_have_no_deviation() -> None:
    assert zscored(torch.full((4,), 2.5)).tolist() == [0.0] * 4
    assert zscored(torch.tensor([7.0])).tolist() == [0.0]
