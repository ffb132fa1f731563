"""What the next segment attends to: the init prompt and the most recent stored KV."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from streamkv_cli.model.video_llm import tokens_of

if TYPE_CHECKING:
    from store import Store
    from streamkv_cli.model.context_cache import Context


class Window:
    """The encoding context of each layer: init prompt, then the latest kept blocks.

    It holds just what went to disk, summary blocks included, so it can be restored from the store
    exactly, and costs no disk of its own. Layers keep different numbers of blocks of a segment, so
    the same number of blocks reaches back to different times in different layers.

    Args:
        prefix: per layer, KV of the init prompt [1, g, I, d].
        tokens: size of the window, without the init prompt.
        block_tokens: P.
    """

    def __init__(self, prefix: Sequence["Context"], tokens: int, block_tokens: int) -> None:
        self._prefix = list(prefix)
        self._limit = tokens // block_tokens
        self._block_tokens = block_tokens
        self._blocks: list[Tensor | None] = [None] * len(self._prefix)

    def add(self, layer: int, blocks: Tensor) -> None:
        """Append the blocks kept in a layer, [n, 2, g, P, d]; the oldest fall out."""
        held = self._blocks[layer]
        joined = blocks if held is None else torch.cat([held, blocks])
        # A copy, not a view: a view would keep every block that fell out in memory.
        self._blocks[layer] = joined[-self._limit :].clone() if self._limit else None

    def context(self, layer: int) -> "Context":
        """Keys before RoPE and values [1, g, n, d] of a layer's context."""
        keys, values = self._prefix[layer]
        blocks = self._blocks[layer]
        if blocks is None:
            return keys, values
        block_keys, block_values = tokens_of(blocks)
        return torch.cat([keys, block_keys], dim=2), torch.cat([values, block_values], dim=2)

    @property
    def length(self) -> int:
        """Tokens of the longest layer's context: where the next segment begins."""
        held = max((len(b) for b in self._blocks if b is not None), default=0)
        return self._prefix[0][0].shape[2] + held * self._block_tokens

    def restore(self, store: "Store", video_id: str) -> None:
        """Take the window of an interrupted ingest from what it had committed."""
        if not self._limit:
            return
        for layer, (keys, _) in enumerate(self._prefix):
            summaries = store.summaries(layer, [video_id])
            count = len(summaries.row)
            refs = [summaries.ref(i) for i in range(max(0, count - self._limit), count)]
            if refs:
                self.add(layer, store.read_blocks(layer, refs, keys.device).to(keys.dtype))
