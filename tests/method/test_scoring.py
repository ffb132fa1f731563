"""Scores of blocks: equal to the published arithmetic over repeated heads."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.method.scoring import block_keys, block_scores


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
