"""Search: the seconds of an archive that words fit best, without generating anything.

The words go through the model once, behind the init prompt alone; no KV of any video is read. In
each layer their queries score the block keys as they would for a question.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from store import LayerSummaries
from streamkv_cli.method.scoring import block_scores
from streamkv_cli.model.context import Context
from streamkv_cli.pipeline.answer import Asker
from streamkv_cli.pipeline.catalog import SEGMENTS_A_BLOCK, Catalog, best_segments

Numbers = npt.NDArray[np.float64]

_JOINED = 0.5
"""Neighbours whose score is at least this share of the best one's belong to its stretch."""


@dataclass(frozen=True)
class Hit:
    """A stretch of one segment that the words fit.

    Attributes:
        video: its name.
        video_id: its id in the store.
        start, end: seconds.
        score: of its best frame: standard deviations above the mean of all that was searched, in
            the mean over layers.
        segment: number of the segment.
    """

    video: str
    video_id: str
    start: float
    end: float
    score: float
    segment: int


def search(catalog: Catalog, asker: Asker, words: str, limit: int, least: float) -> list[Hit]:
    """The best stretches, best first; one segment may have several.

    Args:
        catalog: what is searched.
        asker: of the model that the videos were ingested with.
        words: what to look for.
        limit: stretches wanted.
        least: score they must reach.
    """
    queries = word_queries(asker, catalog, words)
    frames = frame_scores(catalog, asker, queries, limit)
    hits: list[Hit] = []
    left = frames.scores.copy()
    while len(hits) < limit:
        best = int(left.argmax())
        if left[best] < least or np.isneginf(left[best]):
            break
        first, last = _stretch(frames, left, best)
        left[first : last + 1] = -np.inf
        place, number, offset = frames.where(best)
        spans = catalog.segment(place, number).spans
        record = catalog.records[place]
        begin = first - (best - offset)
        hits.append(
            Hit(
                record.name,
                record.video_id,
                spans[begin].start,
                spans[begin + last - first].end,
                float(frames.scores[best]),
                number,
            )
        )
    return hits


def word_queries(asker: Asker, catalog: Catalog, words: str) -> list[Tensor]:
    """Each layer's queries [S', h, d] of the words, read behind the init prompt alone."""
    prompt = asker.model.prompt(catalog.records[0].profile["init_prompt"], words)
    prefix = asker.prefix(prompt)
    queries: list[Tensor] = []

    def choose(layer: int, found: Tensor) -> Context:
        queries.append(found)
        return prefix[layer]

    asker.model.probe(prompt, choose, prefix[0].place)
    return queries


@dataclass(frozen=True, eq=False)
class Frames:
    """The F frames of S segments with their scores.

    Attributes:
        scores: [F], in order of the segments; -inf where a frame is not admitted.
        segments: [S] place of the video in the upper, number of the segment in the lower half.
        offsets: [S + 1] where each segment's frames begin.
    """

    scores: Numbers
    segments: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    def where(self, frame: int) -> tuple[int, int, int]:
        """Place of a frame's video, number of its segment, and its place therein."""
        at = int(np.searchsorted(self.offsets, frame, side="right")) - 1
        segment = int(self.segments[at])
        return segment >> 32, segment & 0xFFFFFFFF, frame - int(self.offsets[at])

    def bounds(self, frame: int) -> tuple[int, int]:
        """First and last frame of a frame's segment."""
        at = int(np.searchsorted(self.offsets, frame, side="right")) - 1
        return int(self.offsets[at]), int(self.offsets[at + 1]) - 1


def frame_scores(catalog: Catalog, asker: Asker, queries: list[Tensor], limit: int) -> Frames:
    """Score of every frame, or of those of the best segments where the catalog is coarse.

    A layer's scores are brought to mean 0 and standard deviation 1 over all that is searched, so
    that layers, and videos, can be compared; a frame's score is the mean over layers. Where a
    layer has dropped a frame, the segment's summary block stands for it.
    """
    layers, norms = _layers(catalog, asker, queries, limit)
    segments, offsets = _frames(layers)
    total = np.zeros(int(offsets[-1]))
    known = np.zeros(len(total), dtype=np.bool_)
    for found, query, (mean, spread) in zip(layers, queries, norms, strict=True):
        scores = (_score(asker, query, found.keys) - mean) / spread
        at = np.searchsorted(segments, (found.video << 32) | found.segment)
        sizes = np.diff(offsets)
        summaries = np.zeros(len(segments))
        summaries[at[found.summary]] = scores[found.summary]
        layer = np.repeat(summaries, sizes)
        frames = offsets[at[~found.summary]] + found.block[~found.summary]
        layer[frames] = scores[~found.summary]
        known[frames] = True
        known |= np.repeat(np.isin(segments, segments[at[found.summary]]), sizes)
        total += layer
    return Frames(np.where(known, total / len(layers), -np.inf), segments, offsets)


def _layers(
    catalog: Catalog, asker: Asker, queries: list[Tensor], limit: int
) -> tuple[list[LayerSummaries], list[tuple[float, float]]]:
    """The blocks that are scored, and what each layer's scores are normalised by."""
    count = range(catalog.layers)
    if not catalog.coarse:
        layers = [catalog.layer(layer) for layer in count]
        return layers, [_norm(_score(asker, queries[i], layers[i].keys)) for i in count]
    total = np.zeros(0)
    norms: list[tuple[float, float]] = []
    for layer in count:
        found, *_ = catalog.segment_scores(
            layer,
            lambda keys, layer=layer: _tensor(asker, queries[layer], keys),  # type: ignore[misc]
        )
        mean, spread = _norm(found[np.isfinite(found)])
        norms.append((mean, spread))
        scores = (found.astype(np.float64) - mean) / spread
        total = total + scores if layer else scores
    best = best_segments(total, SEGMENTS_A_BLOCK * limit)
    return [catalog.blocks_of(layer, best) for layer in count], norms


def _frames(
    layers: list[LayerSummaries],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The segments of some blocks, ascending, and where the frames of each begin."""
    keys = np.concatenate([(found.video << 32) | found.segment for found in layers])
    # A summary block's number is the count of spans; without one, every block is there.
    sizes = np.concatenate([found.block + ~found.summary for found in layers])
    segments, at = np.unique(keys, return_inverse=True)
    spans = np.zeros(len(segments), dtype=np.int64)
    np.maximum.at(spans, at, sizes)
    return segments, np.concatenate([[0], np.cumsum(spans)])


def _stretch(frames: Frames, left: Numbers, best: int) -> tuple[int, int]:
    """First and last frame around the best one that score nearly as well, in its segment."""
    first, last = frames.bounds(best)
    least = _JOINED * left[best] if left[best] > 0 else left[best]
    begin = end = best
    while begin > first and left[begin - 1] >= least:
        begin -= 1
    while end < last and left[end + 1] >= least:
        end += 1
    return begin, end


def _tensor(asker: Asker, queries: Tensor, keys: Tensor) -> Tensor:
    return block_scores(queries, keys.to(queries.device), asker.method.similarity)


def _score(asker: Asker, queries: Tensor, keys: Tensor) -> Numbers:
    scores: Numbers = _tensor(asker, queries, keys).double().numpy(force=True)
    return scores


def _norm(scores: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Mean and standard deviation, 1 where all scores are alike."""
    spread = float(scores.std()) if len(scores) else 0.0
    return (float(scores.mean()) if len(scores) else 0.0), spread or 1.0
