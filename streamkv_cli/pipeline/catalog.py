"""What a question may draw from: block keys of one or many videos, within bounds of time.

Small collections are scored block by block, exactly. In large ones the summary blocks pick segments
first, and only the blocks of those are scored, so that the cost of a question grows with the number
of segments and what is held in memory does not grow with the archive.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from store import LayerSummaries, Scan, SegmentRecord, Store, VideoRecord, VideoState
from streamkv_cli.errors import NothingFoundError
from streamkv_cli.pipeline.bounds import Bounds

EXACT_FRAMES = 16_384
"""Frames of video up to which all blocks are scored: nine hours at one frame in two seconds."""

SEGMENTS_A_BLOCK = 4
"""Segments looked into for each block that is to be fetched, where summary blocks pick them."""

_NUMBER = (1 << 32) - 1

Score = Callable[[Tensor], Tensor]
"""Block keys [n, g, d] -> their scores [n] for one question in one layer."""

Rank = Callable[[Tensor, Tensor], Tensor]
"""Scores [n] and the segment of each, where neighbours differ by 1 -> what to sort by."""


class Catalog:
    """The blocks that questions may draw from, as the store holds them at one moment.

    Args:
        store: open for reading.
        videos: whom to ask, in the order in which their blocks shall stand.
        bounds: seconds within each video.
        exact_frames: score every block where the videos have at most this many frames.

    Attributes:
        coarse: summary blocks pick segments first.
        until: the second up to which each video is admitted; None where nothing of it is.

    Raises:
        NothingFoundError: no block is within the bounds.
    """

    def __init__(
        self,
        store: Store,
        videos: Sequence[tuple[VideoRecord, VideoState]],
        bounds: Bounds | None = None,
        exact_frames: int = EXACT_FRAMES,
    ) -> None:
        self.store = store
        self.records = [record for record, _ in videos]
        self._states = [state for _, state in videos]
        held = [np.fromiter(state.numbers(), np.int64) for state in self._states]
        # Every segment in turn, by its video's place and its number in one integer, ascending.
        self._all = np.concatenate([(at << 32) | numbers for at, numbers in enumerate(held)])
        self._admitted = None if bounds is None or bounds.none else self._admit(bounds)
        self.until: list[float | None] = [state.end for _, state in videos]
        frames = sum(state.frames for _, state in videos)
        if self._admitted is not None:
            self.until = self._admitted.until
            frames = int(self._admitted.flags.sum())
            if not frames:
                raise NothingFoundError(
                    f"nothing of {_names(self.records)} is stored {_words(bounds)}",
                    "streamkv show VIDEO lists the segments and their times",
                )
        self.coarse = frames > exact_frames
        self._layers: dict[int, LayerSummaries] = {}
        self._segments: dict[tuple[int, int], SegmentRecord] = {}

    @property
    def layers(self) -> int:
        """L."""
        return self.records[0].geometry.layers

    def layer(self, layer: int) -> LayerSummaries:
        """All admitted blocks of a layer; read once. For catalogs that are not coarse."""
        if layer not in self._layers:
            wanted = None if self._admitted is None else self._open_segments()
            found = self.store.summaries(layer, self._ids, wanted)
            self._layers[layer] = self._within(found)
        return self._layers[layer]

    def stored(self) -> list[int]:
        """Admitted blocks in each layer. For catalogs that are not coarse."""
        return [len(self.layer(layer)) for layer in range(self.layers)]

    def bytes_stored(self) -> int:
        """Bytes of all admitted blocks of all layers. For catalogs that are not coarse."""
        return sum(int(self.layer(layer).nbytes.sum()) for layer in range(self.layers))

    def candidates(
        self,
        layer: int,
        score: Score,
        wanted: int,
        latest: int = 0,
        rank: Rank = lambda scores, _: scores,
        also: npt.NDArray[np.int64] | None = None,
    ) -> tuple[LayerSummaries, int, int]:
        """The blocks of a layer's most promising segments; how many it has in all, and their bytes.

        Args:
            score: of a segment's summary block.
            wanted: blocks that are to be fetched; segments are looked into for four times as many.
            latest: most recent segments that are looked into whatever their score.
            rank: of segments by their scores.
            also: segments that are looked into in any case, place of the video in the upper half.
        """
        scores, rows, size = self.segment_scores(layer, score)
        admitted = np.flatnonzero(np.isfinite(scores))
        ranking = np.full_like(scores, -np.inf)
        ranking[admitted] = rank(
            torch.from_numpy(scores[admitted]), torch.from_numpy(self._all[admitted])
        ).numpy()
        picked = best_segments(ranking, SEGMENTS_A_BLOCK * wanted)
        if latest:
            picked = np.union1d(picked, admitted[-latest:])
        if also is not None:
            wanted_too = np.flatnonzero(np.isin(self._all, also))
            picked = np.union1d(picked, np.intersect1d(wanted_too, admitted))
        return self.blocks_of(layer, picked), rows, size

    def segment_scores(self, layer: int, score: Score) -> tuple[npt.NDArray[np.float32], int, int]:
        """Score of every segment's summary block [S], and blocks and bytes stored in the layer.

        Segments that are not admitted have -inf, but count as stored. One chunk of keys is in
        memory at a time.
        """
        scores = np.empty(len(self._all), dtype=np.float32)
        rows = size = 0
        for chunk in self.store.scan_segments(layer, self._scan):
            stop = chunk.first + len(chunk.keys)
            scores[chunk.first : stop] = score(chunk.keys).numpy(force=True)
            rows += chunk.rows
            size += chunk.nbytes
        if self._admitted is not None:
            scores[~self._admitted.any] = -np.inf
        return scores, rows, size

    def blocks_of(self, layer: int, segments: npt.NDArray[np.int64]) -> LayerSummaries:
        """The admitted blocks of some segments, by their place among all segments."""
        wanted: dict[str, list[int]] = {}
        for segment in self._all[np.sort(segments)].tolist():
            wanted.setdefault(self._ids[segment >> 32], []).append(segment & _NUMBER)
        # Only the videos that have one: a large archive is not walked for them.
        return self._within(self.store.summaries(layer, list(wanted), wanted))

    def segment(self, place: int, number: int) -> SegmentRecord:
        """A segment of the video at `place`; read when it is first needed."""
        if (place, number) not in self._segments:
            found = self.store.segment(self._ids[place], number)
            self._segments[place, number] = found
        return self._segments[place, number]

    def segments(self, place: int) -> Iterator[SegmentRecord]:
        """All segments of a video as they were when the catalog was made."""
        state = self._states[place]
        for segment in self.store.segments(self._ids[place]):
            if state.holds(segment.number):
                yield segment

    def admitted_spans(self, place: int, segment: SegmentRecord) -> npt.NDArray[np.bool_]:
        """Which spans of a segment are admitted, and its summary block, [spans + 1]."""
        if self._admitted is None:
            return np.ones(len(segment.spans) + 1, dtype=np.bool_)
        index = int(np.searchsorted(self._all, (place << 32) | segment.number))
        begin, stop = self._admitted.range(index)
        return self._admitted.flags[begin:stop]

    @cached_property
    def _ids(self) -> list[str]:
        return [record.video_id for record in self.records]

    @cached_property
    def _scan(self) -> Scan:
        return Scan(list(zip(self.records, self._states, strict=True)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {video_id: place for place, video_id in enumerate(self._ids)}

    def _admit(self, bounds: Bounds) -> "_Admitted":
        flags, sizes = [], []
        until: list[float | None] = []
        for place, record in enumerate(self.records):
            lossless = record.profile.get("keep", 0) >= 1
            latest: float | None = None
            for segment in self.segments(place):
                admits = bounds.admits(segment, lossless)
                flags.append(admits)
                sizes.append(len(admits))
                if admits.any():
                    latest = segment.spans[int(np.flatnonzero(admits[:-1])[-1])].end
            until.append(latest)
        joined = np.concatenate(flags) if flags else np.zeros(0, dtype=np.bool_)
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return _Admitted(joined, offsets, until)

    def _open_segments(self) -> dict[str, list[int]]:
        """Segments of which something is admitted, by video."""
        assert self._admitted is not None
        found: dict[str, list[int]] = {video_id: [] for video_id in self._ids}
        for segment in self._all[self._admitted.any].tolist():
            found[self._ids[segment >> 32]].append(segment & _NUMBER)
        return found

    def _within(self, found: LayerSummaries) -> LayerSummaries:
        """Blocks as of the catalog's moment and within its bounds, videos by their place here."""
        place = np.array([self._places[video_id] for video_id in found.video_ids], dtype=np.int64)
        video = place[found.video] if len(found) else found.video
        wanted = (video << 32) | found.segment
        index = np.minimum(np.searchsorted(self._all, wanted), len(self._all) - 1)
        inside = self._all[index] == wanted
        if self._admitted is not None:
            block = np.where(inside, found.block, 0)
            inside &= self._admitted.flags[self._admitted.offsets[index] + block]
        found = replace(found, video_ids=tuple(self._ids), video=video)
        return found if inside.all() else _rows(found, inside)


class Shelf:
    """Catalogs for question after question: made anew only where something has changed.

    Args:
        store: open for reading.
        exact_frames: as of `Catalog`.
        room: frames of video of all catalogs that are kept; the last one is kept in any case.
    """

    def __init__(self, store: Store, exact_frames: int = EXACT_FRAMES, room: int = 0) -> None:
        self._store = store
        self._exact_frames = exact_frames
        self._room = room
        self._kept: list[tuple[object, int, Catalog]] = []

    def catalog(self, videos: Sequence[tuple[VideoRecord, VideoState]], bounds: Bounds) -> Catalog:
        """What may be drawn from these videos, as far as they have come by now."""
        # Under the same id there may be another memory by now, of other settings.
        key = ([(r.video_id, r.profile, r.notes, state) for r, state in videos], bounds)
        found = next((kept for kept in self._kept if kept[0] == key), None)
        if found is None:
            frames = sum(state.frames for _, state in videos)
            self._make_room(frames)
            catalog = Catalog(self._store, videos, bounds, self._exact_frames)
            found = key, 0 if catalog.coarse else frames, catalog
        else:
            self._kept.remove(found)
        self._kept.append(found)
        return found[2]

    def _make_room(self, frames: int) -> None:
        """Give memory back before more is taken: what was not used longest goes first."""
        while self._kept and sum(kept[1] for kept in self._kept) + frames > self._room:
            del self._kept[0]

    def note_asked(self, video_ids: Iterable[str]) -> None:
        """Remember that these videos answered a question now."""
        for video_id in video_ids:
            self._store.note_asked(video_id)


@dataclass(frozen=True, eq=False)
class _Admitted:
    """Which blocks are within the bounds.

    Attributes:
        flags: for every segment in turn, one a span and one for its summary block.
        offsets: [S + 1] where each segment's begin.
        until: for every video, the end of its last admitted span.
    """

    flags: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    until: list[float | None]

    @cached_property
    def any(self) -> npt.NDArray[np.bool_]:
        """[S] whether something of a segment is admitted."""
        sums = np.concatenate([[0], np.cumsum(self.flags)])
        found: npt.NDArray[np.bool_] = sums[self.offsets[1:]] > sums[self.offsets[:-1]]
        return found

    def range(self, segment: int) -> tuple[int, int]:
        """Where a segment's flags begin and stop."""
        return int(self.offsets[segment]), int(self.offsets[segment + 1])


def best_segments(scores: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` highest finite scores, ascending; of equal ones the first."""
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        above = np.flatnonzero(scores > least)
        equal = np.flatnonzero(scores == least)[: count - len(above)]
        best = np.sort(np.concatenate([above, equal]))
    else:
        best = np.arange(len(scores))
    found: npt.NDArray[np.int64] = best[np.isfinite(scores[best])]
    return found


def _rows(found: LayerSummaries, keep: npt.NDArray[np.bool_]) -> LayerSummaries:
    arrays: dict[str, Any] = {
        name: value[keep]
        for name in (f.name for f in fields(found))
        if isinstance(value := getattr(found, name), np.ndarray)
    }
    return replace(found, keys=found.keys[torch.from_numpy(keep)], **arrays)


def _words(bounds: Bounds | None) -> str:
    assert bounds is not None
    words = [
        f"{name} {value:g} s"
        for name, value in (("from", bounds.start), ("to", bounds.end), ("as of", bounds.at))
        if value is not None
    ]
    return " ".join(words)


def _names(records: Sequence[VideoRecord]) -> str:
    return records[0].name if len(records) == 1 else f"the {len(records)} videos"
