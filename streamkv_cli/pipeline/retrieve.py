"""Layer-adaptive fetch: which blocks each layer reads for a question (design 3.5 and 3.6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from store import LayerSummaries, SegmentRecord, Store
from streamkv_cli.method.presets import Method
from streamkv_cli.method.scoring import block_scores
from streamkv_cli.method.selection import mass, top_blocks
from streamkv_cli.model.context import Context
from streamkv_cli.model.layout import Layout, Place, furthest
from streamkv_cli.pipeline.slots import skips_by_row


def stored_blocks(segments: Iterable[SegmentRecord], layers: int) -> list[int]:
    """Blocks stored in each layer, summary blocks included."""
    counts = [0] * layers
    for segment in segments:
        for layer, kept in enumerate(segment.kept):
            counts[layer] += kept + segment.summary
    return counts


@dataclass
class _Held:
    """Blocks of one layer that are on the device: rows of its summaries, and their KV."""

    rows: list[int]
    blocks: Tensor


class Retriever:
    """Serves each layer the blocks it asks for, reading no others.

    Used twice a question: with `equal` for the first pass, and with `adaptive` once `settle` has
    made budgets of the first pass's scores. Blocks read in the first pass are not read again.

    Args:
        store: open for reading.
        video_ids: the videos to draw from, in the order their blocks shall stand.
        prefix: per layer, the init prompt.
        layouts: of the videos' blocks.
        method: how many blocks, and how they are scored.
    """

    def __init__(
        self,
        store: Store,
        video_ids: Sequence[str],
        prefix: Sequence[Context],
        layouts: Sequence[Layout],
        method: Method,
    ) -> None:
        self._store = store
        self._video_ids = list(video_ids)
        self._prefix = list(prefix)
        self._layouts = list(layouts)
        self._method = method
        # The most recent blocks of several videos mean nothing to one question.
        self._local = method.local if len(self._video_ids) == 1 else 0
        self._summaries: dict[int, LayerSummaries] = {}
        self._held: dict[int, _Held] = {}
        self.segments = [store.segments(video_id) for video_id in self._video_ids]
        layers = len(self._prefix)
        self.stored = stored_blocks(chain.from_iterable(self.segments), layers)
        self.scores: list[Tensor] = [torch.empty(0)] * layers
        self.budgets = [method.blocks] * layers

    @property
    def everything_fits(self) -> bool:
        """Every layer fetches all it has: there is nothing to choose, so no first pass is due."""
        return max(self.stored) <= self._method.blocks

    @property
    def place(self) -> Place:
        """Where the question stands: behind the longest context that a layer may choose."""
        fetched = max(min(k, n) for k, n in zip(self.budgets, self.stored, strict=True))
        start = self._prefix[0].place
        return furthest([layout.after(start, fetched) for layout in self._layouts])

    def choose(self, layer: int, queries: Tensor) -> Context:
        """Context of a layer: init prompt, then its K_l best blocks for the question.

        Args:
            queries: [S', h, d] the layer's queries of the question's own words.
        """
        summaries = self.summaries(layer)
        scores = block_scores(queries, summaries.keys.to(queries.device), self._method.similarity)
        self.scores[layer] = scores
        rows = top_blocks(scores, self.budgets[layer], self._local)
        context = self._prefix[layer]
        if not rows:
            return context
        blocks = self._fetch(layer, rows, context.keys)
        skips = skips_by_row(summaries, self.segments, rows)
        videos = summaries.video[rows]
        for video in np.unique(videos):  # in their order, which is that of the rows
            mine = np.flatnonzero(videos == video)
            layout = self._layouts[video]
            context = context.extended(layout, blocks[mine], [skips[i] for i in mine])
        return context

    def settle(self) -> None:
        """Turn the first pass's scores into each layer's own budget (Alg. 1)."""
        self.budgets = self._method.fetch_budgets(self.scores)

    def summaries(self, layer: int) -> LayerSummaries:
        """A layer's block keys, scanned once a question.

        A video that is being ingested meanwhile is seen by all layers as it was when the question
        was asked.
        """
        if layer not in self._summaries:
            found = self._store.summaries(layer, self._video_ids)
            if len(found.row) != self.stored[layer]:
                found = self._as_asked(found)
            self._summaries[layer] = found
        return self._summaries[layer]

    def _as_asked(self, found: LayerSummaries) -> LayerSummaries:
        old = np.zeros(len(found), dtype=np.bool_)
        for place, segments in enumerate(self.segments):
            known = [segment.number for segment in segments]
            old |= (found.video == place) & np.isin(found.segment, known)
        arrays: dict[str, Any] = {
            name: value[old]
            for name in (f.name for f in fields(found))
            if isinstance(value := getattr(found, name), np.ndarray)
        }
        return replace(found, keys=found.keys[torch.from_numpy(old)], **arrays)

    def chosen(self, layer: int) -> tuple[list[int], list[float]]:
        """Rows a layer chose by score, and their share of its mass.

        The forced recent blocks count only where the score would have taken them as well.
        """
        scores = self.scores[layer]
        rows = top_blocks(scores, self.budgets[layer])
        share = mass(scores, self._method.zscore)
        return rows, share[rows].tolist()

    def _fetch(self, layer: int, rows: list[int], like: Tensor) -> Tensor:
        """KV of rows [n, 2, g, P, d] on the device; only those not yet held are read."""
        held = self._held.get(layer)
        have = set(held.rows) if held else set()
        missing = [row for row in rows if row not in have]
        summaries = self._summaries[layer]
        if missing:
            refs = [summaries.ref(row) for row in missing]
            blocks = self._store.read_blocks(layer, refs, like.device).to(like.dtype)
            if held is not None:
                missing, blocks = held.rows + missing, torch.cat([held.blocks, blocks])
            held = self._held[layer] = _Held(missing, blocks)
        assert held is not None
        if held.rows == rows:
            return held.blocks
        place = {row: i for i, row in enumerate(held.rows)}
        return held.blocks[[place[row] for row in rows]]
