"""What the next segment attends to: the init prompt and the most recent stored KV."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from streamkv_cli.model.layout import furthest
from streamkv_cli.pipeline.slots import skips_by_row

if TYPE_CHECKING:
    from store import Store
    from streamkv_cli.model.context import Context
    from streamkv_cli.model.layout import Layout, Place


class Window:
    """The encoding context of each layer: init prompt, then the latest kept blocks.

    It holds just what went to disk, summary blocks included, so it can be restored from the store
    exactly, and costs no disk of its own. Layers keep different numbers of blocks of a segment, so
    the same number of blocks reaches back to different times in different layers.

    Args:
        prefix: per layer, the init prompt.
        tokens: size of the window, without the init prompt.
        layout: of the video.
        blocks: most blocks in the window; None: as many as have room in `tokens`.
    """

    def __init__(
        self,
        prefix: Sequence["Context"],
        tokens: int,
        layout: "Layout",
        blocks: int | None = None,
    ) -> None:
        self._prefix = list(prefix)
        room = tokens // layout.tokens
        self._limit = room if blocks is None else min(room, blocks)
        self._layout = layout
        self._blocks: list[Tensor | None] = [None] * len(self._prefix)
        self._skips: list[list[int]] = [[] for _ in self._prefix]

    def add(self, layer: int, blocks: Tensor, skips: Sequence[int]) -> None:
        """Append the blocks kept in a layer; the oldest fall out.

        Args:
            blocks: [n, 2, g, P, d].
            skips: for each block, how many of its first slots are unused.
        """
        if not self._limit:
            return
        held = self._blocks[layer]
        joined = blocks if held is None else torch.cat([held, blocks])
        # A copy, not a view: a view would keep every block that fell out in memory.
        self._blocks[layer] = joined[-self._limit :].clone()
        self._skips[layer] = [*self._skips[layer], *skips][-self._limit :]

    def context(self, layer: int) -> "Context":
        """What the next segment attends to in a layer."""
        blocks = self._blocks[layer]
        if blocks is None:
            return self._prefix[layer]
        return self._prefix[layer].extended(self._layout, blocks, self._skips[layer])

    @property
    def place(self) -> "Place":
        """Where the next segment begins: behind the longest layer's context."""
        start = self._prefix[0].place
        return furthest([self._layout.blocks(start, skips)[1] for skips in self._skips])

    def restore(self, store: "Store", video_id: str, before: int) -> None:
        """Take the window of an interrupted ingest from what it had committed.

        Args:
            before: number of the segment that comes next; behind a gap there are others.
        """
        if not self._limit:
            return
        segments = store.segments(video_id)
        for layer, prefix in enumerate(self._prefix):
            summaries = store.summaries(layer, [video_id])
            count = int((summaries.segment < before).sum())
            rows = list(range(max(0, count - self._limit), count))
            if rows:
                keys = prefix.keys
                blocks = store.read_blocks(layer, summaries.refs(rows), keys.device).to(keys.dtype)
                skips = skips_by_row(summaries, lambda _, number: segments[number], rows)
                self.add(layer, blocks, skips)
