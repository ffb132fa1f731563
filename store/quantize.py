"""Asymmetric quantization of KV blocks, after KIVI (arXiv 2402.02750), section 3.

Keys, stored before RoPE, have channels that are large in every token: they are quantized along
tokens, each channel by itself. Values have no such channels: they are quantized along channels,
each token by itself. A group of elements x shares a zero z and a step s, both half precision:

    code = round((x - z) / s),   x' = z + s * code,   |x - x'| <= s / 2 (and float32 rounding)

z is never above the smallest element and z + s * (2^bits - 1) never below the largest, also after
their own rounding, so the bound holds for every element and no code is clipped for real.
"""

from __future__ import annotations

import torch
from torch import Tensor

from store.groups import group_size, groups_of

LARGEST = 65504.0
"""The largest half precision number, so the largest element of a group."""

_ULP = 2.0**-10  # of half precision, relative; its smallest number is 2^-24
_LEAST = 2.0**-24


def quantize(x: Tensor, dim: int, most: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Quantize along `dim` in groups of at most `most` elements.

    Args:
        x: float32 of any shape, finite and within half precision's range.
        dim: -1 or -2.

    Returns:
        codes, uint8, shaped like x; zeros and steps, float16, shaped like x with the number of
        groups at `dim`.
    """
    length = x.shape[dim]
    size = group_size(length, most)
    groups = groups_of(length, most)
    index = torch.arange(groups * size, device=x.device).clamp_(max=length - 1)
    grouped = _split(x.index_select(dim, index), dim, groups, size)
    within = dim if dim == -1 else -2
    zero = _below(grouped.amin(within))
    top = (1 << bits) - 1
    step = _step(grouped.amax(within) - zero.float(), top)
    spread_zero, spread_step = (_spread(t.float(), dim, size, length) for t in (zero, step))
    codes = (x - spread_zero) / spread_step.where(spread_step > 0, torch.ones_like(spread_step))
    return codes.round_().clamp_(0, top).to(torch.uint8), zero, step


def dequantize(
    codes: Tensor, zero: Tensor, step: Tensor, dim: int, most: int, into: Tensor | None = None
) -> Tensor:
    """The float32 elements that `quantize` made `codes` of.

    Args:
        into: float32, shaped like codes, where they are wanted; new memory without it.
    """
    length = codes.shape[dim]
    size = group_size(length, most)
    x = codes.float() if into is None else into.copy_(codes)
    if length % size:
        spread_zero, spread_step = (_spread(t.float(), dim, size, length) for t in (zero, step))
        return x.mul_(spread_step).add_(spread_zero)
    # In place and spread by a view: a decoder waits for memory, not for arithmetic.
    grouped = _split(x, dim, length // size, size)
    grouped.mul_(step.float().unsqueeze(dim)).add_(zero.float().unsqueeze(dim))
    return x


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes [n, m], m even, as bytes [n, m * bits / 8]; of two in a byte the first is the low."""
    if bits == 8:
        return codes
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The codes that `pack` made bytes of."""
    if bits == 8:
        return packed
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)


def _split(x: Tensor, dim: int, groups: int, size: int) -> Tensor:
    """`dim` as two: groups, and the elements of each."""
    shape = list(x.shape)
    shape[dim] = groups
    shape.insert(len(shape) + 1 + dim, size)
    return x.reshape(shape)


def _spread(t: Tensor, dim: int, size: int, length: int) -> Tensor:
    """Each group's number at each of its elements."""
    return t.repeat_interleave(size, dim).narrow(dim, 0, length)


def _below(x: Tensor) -> Tensor:
    """The nearest half precision number where it is not above x, else one just below."""
    near = x.half()
    below = (x - x.abs() * _ULP - _LEAST).clamp_(min=-LARGEST).half()
    return near.where(near.float() <= x, below)


def _step(span: Tensor, top: int) -> Tensor:
    """The half precision step with step * top >= span; 0 for a group of equal elements."""
    step = span / top
    near = step.half()
    above = (step * (1 + _ULP) + _LEAST).half()
    return near.where(near.float() * top >= span, above)
