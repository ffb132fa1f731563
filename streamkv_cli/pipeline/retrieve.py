"""Layer-adaptive fetch: which blocks each layer reads for a question (design 3.5 and 3.6)."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from store import BlockRef, LayerSummaries
from streamkv_cli.method.presets import Method
from streamkv_cli.method.selection import mass, top_blocks
from streamkv_cli.model.context import Context
from streamkv_cli.model.layout import Layout, Place, furthest
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.slots import skips_by_row
from streamkv_cli.pipeline.talk import Kept


class Retriever:
    """Serves each layer the blocks it asks for, reading no others.

    Used twice a question: with equal budgets for the first pass, and with adaptive ones once
    `settle` has made them of the first pass's scores. Blocks read in the first pass are not read
    again. Where the catalog is coarse, the first pass also picks the segments that the second one
    chooses from.

    Args:
        catalog: what may be drawn from.
        prefix: per layer, the init prompt.
        layouts: of the blocks of the catalog's videos.
        method: how many blocks, and how they are scored.
        kept: blocks that come before others, of a chat's earlier answers.
    """

    def __init__(
        self,
        catalog: Catalog,
        prefix: Sequence[Context],
        layouts: Sequence[Layout],
        method: Method,
        kept: Kept | None = None,
    ) -> None:
        self._catalog = catalog
        self._kept = kept
        self._prefix = list(prefix)
        self._layouts = list(layouts)
        self._method = method
        # The most recent blocks of several videos mean nothing to one question.
        self._local = method.local if len(catalog.records) == 1 else 0
        self._summaries: dict[int, LayerSummaries] = {}
        self._held: list[dict[BlockRef, Tensor]] = [{} for _ in prefix]
        self.stored = [0] * len(self._prefix)
        self.bytes_stored = 0
        if not catalog.coarse:
            self.stored = catalog.stored()
            self.bytes_stored = catalog.bytes_stored()
        self._rows: list[list[int]] = [[] for _ in self._prefix]
        self.scores: list[Tensor] = [torch.empty(0)] * len(self._prefix)
        self.budgets = [method.blocks] * len(self._prefix)
        self._last_pass = self.everything_fits

    @property
    def everything_fits(self) -> bool:
        """Every layer fetches all it has: there is nothing to choose, so no first pass is due."""
        return not self._catalog.coarse and max(self.stored) <= self._method.blocks

    @property
    def place(self) -> Place:
        """Where the question stands: behind the longest context that a layer may choose."""
        start, longest = self._prefix[0].place, max(self.fetched)
        return furthest([layout.after(start, longest) for layout in dict.fromkeys(self._layouts)])

    @property
    def fetched(self) -> list[int]:
        """Blocks each layer fetches, as far as is known."""
        known = [n or k for k, n in zip(self.budgets, self.stored, strict=True)]
        return [min(k, n) for k, n in zip(self.budgets, known, strict=True)]

    def choose(self, layer: int, queries: Tensor) -> Context:
        """Context of a layer: init prompt, then its K_l best blocks for the question.

        Args:
            queries: [S', h, d] the layer's queries of the question's own words.
        """
        score = partial(self._score, queries)
        if layer not in self._summaries:
            self._summaries[layer] = self._find(layer, score)
        scores = score(self._summaries[layer].keys)
        self.scores[layer] = scores
        context, summaries = self._prefix[layer], self._summaries[layer]
        places = torch.from_numpy((summaries.video << 32) | summaries.segment)
        ranking = self._method.ranking(scores, places.to(scores.device))
        if self._kept is not None:
            ranking = self._kept.first(summaries, ranking, self.budgets[layer])
        rows = top_blocks(ranking, self.budgets[layer], self._local)
        self._rows[layer] = rows
        refs, videos = summaries.refs(rows), summaries.video[rows]
        self._read(layer, refs, videos, context.keys)
        for video in np.unique(videos):  # in their order, which is that of the rows
            mine, layout = np.flatnonzero(videos == video), self._layouts[video]
            held = [self._held[layer][refs[i]] for i in mine]
            # Without slots for words before the picture, none can be unused: no record is read.
            skips = (
                skips_by_row(summaries, self._catalog.segment, [rows[i] for i in mine])
                if layout.head
                else None
            )
            context = context.extended(layout, held, skips)
        if self._last_pass:
            self._held[layer] = {}  # copied into the context, and asked for no more
        return context

    def settle(self) -> None:
        """Turn the first pass's scores into each layer's own budget (Alg. 1)."""
        self.budgets = self._method.fetch_budgets(self.scores)
        self._last_pass = True

    def summaries(self, layer: int) -> LayerSummaries:
        """The blocks a layer chooses from, once it has been asked."""
        return self._summaries[layer]

    def chosen(self, layer: int) -> tuple[list[int], list[float]]:
        """Rows a layer chose by score, and their share of its mass.

        The forced recent blocks, and those beside chosen ones, count only where the score would
        have taken them as well; and where all there is was fetched, what is less alike to the
        question than the layer's mean is no evidence.
        """
        scores = self.scores[layer]
        fetched = set(self._rows[layer])
        rows = [row for row in top_blocks(scores, self.budgets[layer]) if row in fetched]
        if len(rows) == len(scores) > 1:
            rows = torch.nonzero(scores >= scores.mean()).flatten().tolist()
        share = mass(scores, self._method.zscore)
        return rows, share[rows].tolist()

    def _score(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self._method.fetch_scores(queries, keys.to(queries.device))

    def _find(self, layer: int, score: partial[Tensor]) -> LayerSummaries:
        if not self._catalog.coarse:
            return self._catalog.layer(layer)
        also = None if self._kept is None else self._kept.segments
        found, self.stored[layer], size = self._catalog.candidates(
            layer, score, self._method.blocks, self._local, self._method.ranking, also
        )
        self.bytes_stored += size
        return found

    def _read(
        self, layer: int, refs: Sequence[BlockRef], places: npt.NDArray[np.int64], like: Tensor
    ) -> None:
        """Bring KV of blocks, [2, g, P, d] each, to the device; only what is not yet there is read.

        Videos of other sizes may have more or fewer tokens a block: what is read at once is alike.

        Args:
            places: of the blocks' videos.
        """
        held, records = self._held[layer], self._catalog.records
        missing: dict[int, list[BlockRef]] = {}
        for ref, place in zip(refs, places, strict=True):
            if ref not in held:
                missing.setdefault(records[place].geometry.tokens, []).append(ref)
        for wanted in missing.values():
            blocks = self._catalog.store.read_blocks(layer, wanted, like.device).to(like.dtype)
            held.update(zip(wanted, blocks, strict=True))
