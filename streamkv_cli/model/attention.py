"""One attention function for layers whose contexts differ in length.

A stock causal mask is built once for all layers; here every layer may hold another number of
context tokens, so the mask follows from the lengths of this layer's own q and k: the last row sees
everything, each row before it one token less (lower-right causal).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface

NAME = "streamkv"

# Rows of queries that share one explicit mask off CUDA: bounds it to this many times the context.
_ROWS = 1024


def lower_right_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention of S new tokens over n context tokens and themselves.

    Args:
        query: [1, h, S, d] rotated queries.
        key, value: [1, g, n + S, d].
        attention_mask: ignored; no padding occurs with a batch of one.

    Returns:
        [1, S, h, d] and None (weights are never materialised).
    """
    rows, total = query.shape[2], key.shape[2]
    if rows == 1:
        # One new token: fold the heads of a group into rows, so that no key is repeated.
        folded = query.view(1, key.shape[1], -1, query.shape[3])
        out = F.scaled_dot_product_attention(folded, key, value, scale=scaling)
        return out.view(1, 1, query.shape[1], -1), None
    if rows == total:
        out = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
    elif query.is_cuda:
        out = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=causal_lower_right(rows, total),
            scale=scaling,
            enable_gqa=True,
        )
    else:
        out = _masked_in_chunks(query, key, value, scaling)
    return out.transpose(1, 2).contiguous(), None


def _masked_in_chunks(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    rows, total = query.shape[2], key.shape[2]
    chunks = []
    for start in range(0, rows, _ROWS):
        stop = min(start + _ROWS, rows)
        seen = total - rows + stop
        mask = torch.ones(stop - start, seen, dtype=torch.bool, device=query.device)
        mask = mask.tril(diagonal=total - rows + start)
        chunks.append(
            F.scaled_dot_product_attention(
                query[:, :, start:stop],
                key[:, :, :seen],
                value[:, :, :seen],
                attn_mask=mask,
                scale=scaling,
                enable_gqa=True,
            )
        )
    return torch.cat(chunks, dim=2)


def register() -> str:
    """Make the function known to transformers; returns the name to set on a text model.

    No mask function is registered under this name: transformers then prepares no mask at all.
    """
    AttentionInterface.register(NAME, lower_right_attention)
    return NAME
