"""Evidence: which seconds of which video an answer rests on."""

from collections import defaultdict
from dataclasses import dataclass, replace

from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.retrieve import Retriever


@dataclass(frozen=True)
class Evidence:
    """A stretch of video that layers chose.

    Attributes:
        video: its name.
        video_id: its id in the store.
        start, end: seconds.
        layers: most layers that chose one block of it.
        score: mass its blocks got, summed over layers, 1 for a layer that looked at nothing else.
        segment: number of the segment that it begins in.
    """

    video: str
    video_id: str
    start: float
    end: float
    layers: int
    score: float
    segment: int = 0


def gather(retriever: Retriever, catalog: Catalog) -> list[Evidence]:
    """Evidence of an answered question, best first: by layers, then by score.

    Args:
        retriever: after the second pass.
        catalog: that it drew from.
    """
    votes: dict[tuple[int, int, int], int] = defaultdict(int)
    shares: dict[tuple[int, int, int], float] = defaultdict(float)
    for layer in range(catalog.layers):
        summaries = retriever.summaries(layer)
        chosen: dict[tuple[int, int, int], float] = defaultdict(float)
        for row, share in zip(*retriever.chosen(layer), strict=True):
            place, number = int(summaries.video[row]), int(summaries.segment[row])
            if summaries.summary[row]:
                blocks = _frames(catalog, place, number)
            else:
                blocks = [int(summaries.block[row])]
            for index in blocks:
                chosen[place, number, index] += share / len(blocks)
        for block, share in chosen.items():
            votes[block] += 1
            shares[block] += share
    found = []
    for block in sorted(votes):
        place, number, index = block
        span = catalog.segment(place, number).spans[index]
        record = catalog.records[place]
        found.append(
            Evidence(
                record.name,
                record.video_id,
                span.start,
                span.end,
                votes[block],
                shares[block] / catalog.layers,
                number,
            )
        )
    return sorted(_joined(found), key=lambda e: (-e.layers, -e.score, e.start))


def _frames(catalog: Catalog, place: int, number: int) -> list[int]:
    """What a summary block stands for: all admitted frames of its segment."""
    segment = catalog.segment(place, number)
    admitted = catalog.admitted_spans(place, segment)
    return [index for index in range(len(segment.spans)) if admitted[index]]


def _joined(found: list[Evidence]) -> list[Evidence]:
    """Neighbouring blocks that as many layers chose make one stretch."""
    joined: list[Evidence] = []
    for piece in found:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.video_id == piece.video_id
            and last.layers == piece.layers
            and abs(last.end - piece.start) < 1e-6
        ):
            joined[-1] = replace(last, end=piece.end, score=last.score + piece.score)
        else:
            joined.append(piece)
    return joined
