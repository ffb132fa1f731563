"""What a question of a chat rests on besides itself: what was said, and what that rested on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from store import LayerSummaries
from streamkv_cli.pipeline.catalog import Catalog

SHARE = 0.5
"""Most of a layer's budget that earlier evidence may take: the rest is for this question."""


@dataclass(frozen=True)
class Stretch:
    """Seconds of a video that an earlier answer rested on."""

    video_id: str
    start: float
    end: float


@dataclass(frozen=True)
class Turn:
    """A question of a chat with its answer, and what that rested on, best first."""

    question: str
    answer: str
    evidence: tuple[Stretch, ...] = ()


class Kept:
    """The blocks of earlier evidence, the latest turn's first.

    Args:
        catalog: what may be drawn from; evidence outside it is passed over.
        turns: of the chat, the first one first.
    """

    def __init__(self, catalog: Catalog, turns: Sequence[Turn]) -> None:
        places = {record.video_id: place for place, record in enumerate(catalog.records)}
        order: dict[tuple[int, int], int] = {}
        for turn in reversed(turns):
            for piece in turn.evidence:
                place = places.get(piece.video_id)
                if place is None:
                    continue
                for segment in catalog.segments(place):
                    if segment.end <= piece.start or segment.start >= piece.end:
                        continue
                    for block, span in enumerate(segment.spans):
                        if piece.start <= span.start and span.end <= piece.end:
                            key = (place << 32) | segment.number, block
                            order.setdefault(key, len(order))
        self._order = order
        self.segments: npt.NDArray[np.int64] = np.unique(
            np.array([segment for segment, _ in order], dtype=np.int64)
        )

    def first(self, summaries: LayerSummaries, ranking: Tensor, budget: int) -> Tensor:
        """A layer's ranking with the kept blocks before all others, as far as their share goes.

        Args:
            ranking: [n] of the layer's blocks.
            budget: blocks the layer fetches.
        """
        if not self._order:
            return ranking
        places = (summaries.video << 32) | summaries.segment
        rows = np.flatnonzero(np.isin(places, self.segments) & ~summaries.summary)
        found = [
            (self._order[key], int(row))
            for row in rows
            if (key := (int(places[row]), int(summaries.block[row]))) in self._order
        ]
        taken = [row for _, row in sorted(found)[: int(SHARE * budget)]]
        ranking = ranking.clone()
        ranking[torch.tensor(taken, dtype=torch.long, device=ranking.device)] = torch.inf
        return ranking
