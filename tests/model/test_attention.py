"""The attention function against softmax written out, for every relation of lengths."""

import weakref

import pytest
import torch
from torch import nn

from streamkv_cli.model import attention
from streamkv_cli.model.context_cache import ContextCache, OneForwardCache


def written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
    rows, total = q.shape[2], k.shape[2]
    weights = q @ k.transpose(2, 3) * scale
    unseen = torch.ones(rows, total).triu(total - rows + 1).bool()
    return (weights.masked_fill(unseen, -torch.inf).softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (4, 4), (5, 1)])
@pytest.mark.parametrize(("rows", "context"), [(1, 0), (1, 17), (9, 0), (9, 5), (40, 100)])
def test_lower_right_causal(
    heads: int, kv_heads: int, rows: int, context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_ROWS", 16)  # so that masks of several chunks occur
    torch.manual_seed(0)
    q = torch.randn(1, heads, rows, 8)
    k, v = torch.randn(2, 1, kv_heads, context + rows, 8)
    out, weights = attention.lower_right_attention(nn.Module(), q, k, v, None, scaling=0.3)
    assert weights is None
    torch.testing.assert_close(out, written_out(q, k, v, 0.3), atol=1e-5, rtol=1e-4)


def test_cache_prepends_contexts_of_different_lengths_and_grows() -> None:
    torch.manual_seed(0)
    contexts = [torch.randn(2, 1, 2, n, 4).unbind() for n in (0, 3, 5)]
    positions = [torch.arange(10 - n, 10).unsqueeze(0) for n in (0, 3, 5)]
    asked: list[int] = []

    def provide(layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        asked.append(layer)
        return contexts[layer][0], contexts[layer][1], positions[layer]

    cache = ContextCache(provide, lambda keys, at: keys + at.view(1, 1, -1, 1), 3, room=1)
    new = [torch.randn(2, 1, 2, n, 4).unbind() for n in (4, 1, 1, 3)]
    for layer in range(3):
        seen = 0
        for keys, values in new:
            all_keys, all_values = cache.update(keys, values, layer)
            seen += keys.shape[2]
            assert cache.get_seq_length(layer) == seen
        length = contexts[layer][0].shape[2]
        torch.testing.assert_close(all_keys[:, :, length:], torch.cat([k for k, _ in new], 2))
        torch.testing.assert_close(all_values[:, :, length:], torch.cat([v for _, v in new], 2))
        # Rotated to end right before position 10.
        expected = contexts[layer][0] + positions[layer].view(1, 1, -1, 1)
        torch.testing.assert_close(all_keys[:, :, :length], expected)
        torch.testing.assert_close(all_values[:, :, :length], contexts[layer][1])
    assert asked == [0, 1, 2]


def test_a_single_forward_holds_one_layers_tokens_at_a_time() -> None:
    torch.manual_seed(0)
    context = (*torch.randn(2, 1, 2, 3, 4).unbind(), torch.arange(3).unsqueeze(0))
    captured: list[tuple[torch.Tensor, torch.Tensor]] = []
    before_rope = torch.randn(2, 6, 4)
    cache = OneForwardCache(
        lambda _: context, lambda keys, _: keys.clone(), 2, lambda: before_rope, captured, keep=5
    )
    seen = []
    for layer in range(2):
        new = torch.randn(2, 1, 2, 6, 4).unbind()
        keys, values = cache.update(*new, layer)
        torch.testing.assert_close(keys, torch.cat([context[0], new[0]], 2))
        torch.testing.assert_close(values, torch.cat([context[1], new[1]], 2))
        torch.testing.assert_close(captured[layer][0], before_rope[None, :, :5])
        torch.testing.assert_close(captured[layer][1], new[1][:, :, :5])
        assert cache.get_seq_length(layer) == 6
        assert all(gone() is None for gone in seen)
        seen += [weakref.ref(keys._base), weakref.ref(values._base)]
        del keys, values
