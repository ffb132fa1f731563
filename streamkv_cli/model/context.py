"""The context of one layer: rotation-free keys and values with the positions they shall have."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamkv_cli.model.layout import Layout, Place

KV = tuple[Tensor, Tensor]
"""Keys before RoPE and values of a run of tokens in one layer, both [1, g, n, d]."""
_LARGE = 1 << 14
"""Elements of a block that a CPU had better copy by itself: a copy of smaller ones costs a call."""


@dataclass(frozen=True)
class Context:
    """What one layer attends to before its new tokens.

    Attributes:
        keys, values: [1, g, n, d], keys before RoPE.
        positions: [axes, n] where each token stands, counted from the first.
        place: behind it all.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    place: Place

    @classmethod
    def of_text(cls, kv: KV, axes: int) -> "Context":
        """A context of words alone, as an init prompt is."""
        count = kv[0].shape[2]
        positions = torch.arange(count).expand(axes, -1)
        return cls(*kv, positions, Place.after_text(count, axes))

    def extended(
        self,
        layout: Layout,
        blocks: Tensor | list[Tensor],
        skips: Sequence[int] | None = None,
    ) -> "Context":
        """This context with blocks of one video behind it, in the order given.

        Args:
            blocks: [n, 2, g, P, d], or n times [2, g, P, d].
            skips: for each block, how many of its first slots are unused; None for no slot.
        """
        skips = [0] * len(blocks) if skips is None else skips
        positions, place = layout.blocks(self.place, skips)
        rows = layout.rows_in_use(skips)
        if rows is None:
            keys, values = self._joined(blocks)
        else:
            more = tokens_of(blocks if isinstance(blocks, Tensor) else torch.stack(blocks), rows)
            keys = torch.cat([self.keys, more[0]], dim=2)
            values = torch.cat([self.values, more[1]], dim=2)
        return Context(keys, values, torch.cat([self.positions, positions], dim=1), place)

    def _joined(self, blocks: Tensor | list[Tensor]) -> KV:
        """Keys and values with those of blocks behind them, each block copied to its place once."""
        if not len(blocks):
            return self.keys, self.values
        _, kv_heads, tokens, size = blocks[0].shape
        count, before = len(blocks), self.keys.shape[2]
        run = blocks[0].new_empty((2, 1, kv_heads, before + count * tokens, size))
        run[0, ..., :before, :], run[1, ..., :before, :] = self.keys, self.values
        room = run[:, 0, :, before:].unflatten(2, (count, tokens)).permute(2, 0, 1, 3, 4)
        if isinstance(blocks, Tensor):
            room.copy_(blocks)
        elif room.is_cpu and blocks[0].numel() >= _LARGE:
            torch.stack(blocks, out=room)
        else:
            room.copy_(torch.stack(blocks))
        return run[0], run[1]


def tokens_of(blocks: Tensor, rows: Tensor | None = None) -> KV:
    """Blocks [n, 2, g, P, d] as one run of tokens: keys and values [1, g, N, d].

    Args:
        rows: which of the n x P slots are tokens; None for all.
    """
    count, _, kv_heads, tokens, size = blocks.shape
    run = blocks.permute(1, 2, 0, 3, 4).reshape(2, 1, kv_heads, count * tokens, size)
    if rows is not None:
        run = run.index_select(3, rows.to(run.device))
    return run[0], run[1]


def blocks_of(kv: KV, count: int, tokens: int, rows: Tensor | None = None) -> Tensor:
    """One run of tokens as `count` blocks [n, 2, g, P, d], unused slots zero.

    Args:
        rows: which of the n x P slots the tokens are; None for all.
    """
    both = torch.cat(kv)  # [2, g, N, d]
    if rows is not None:
        slots = both.new_zeros((*both.shape[:2], count * tokens, both.shape[3]))
        slots[:, :, rows.to(both.device)] = both
        both = slots
    return both.unflatten(2, (count, tokens)).permute(2, 0, 1, 3, 4).contiguous()
