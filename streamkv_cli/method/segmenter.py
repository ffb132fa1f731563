"""Semantic segments: where a stream of frames is cut, and how a long scene is kept bounded.

Paper, section 3.1. A segment ends where the picture changes: the cosine similarity s_t of adjacent
frames falls to the threshold or below it. A scene that outgrows `max_frames` is not cut; its most
similar adjacent frames are averaged, so that a segment is one scene however long it lasts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from streamkv_cli.method.threshold import CutRule


@dataclass
class Piece:
    """One block of an open segment, or several that were averaged.

    Attributes:
        features: [P, D] projected features.
        start, end: presentation times of its first and last frame, seconds.
        frames: how many sampled frames went into it.
        similarity: cosine of its token mean with that of the piece before it.
        number: of its first block in the video, from 0.
    """

    features: Tensor
    start: float
    end: float
    frames: int = 1
    similarity: float = 0.0
    number: int = 0


@dataclass
class Segment:
    """A closed run of frames between two cuts.

    Attributes:
        number: counts from 0.
        pieces: what is left of its frames after averaging, in time order.
        changes: 1 - s_t of every frame since the last cut, the one that ended it included.
    """

    number: int
    pieces: list[Piece] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    @property
    def features(self) -> Tensor:
        """[T, P, D] features of its pieces."""
        return torch.stack([piece.features for piece in self.pieces])

    @property
    def frames(self) -> int:
        """Sampled frames it covers, averaged ones counted singly."""
        return sum(piece.frames for piece in self.pieces)


def similarity(a: Tensor, b: Tensor) -> float:
    """s_t: cosine of two frames' vectors (design, 3.1).

    Args:
        a, b: [D] vectors, or [P, D] token features whose mean is taken.
    """
    # In float64: where features share a large offset, what differs is in the last digits.
    a = a.double().mean(dim=0) if a.dim() == 2 else a.double()
    b = b.double().mean(dim=0) if b.dim() == 2 else b.double()
    return float(F.cosine_similarity(a, b, dim=0, eps=1e-8))


def summary_features(features: Tensor) -> Tensor:
    """Summary block before encoding: mean over the segment's frames at each token position.

    Args:
        features: [T, P, D].

    Returns:
        [P, D] in the features' dtype.
    """
    return features.float().mean(dim=0).to(features.dtype)


class Segmenter:
    """Cuts a stream of frames into segments, one frame at a time.

    Where a model reads several frames as one block, such a block is the frame spoken of here.

    Args:
        rule: decides from s_t whether the picture changed.
        min_frames: a segment holds at least this many frames before a cut is heeded.
        max_frames: pieces an open segment may hold.
        merge: at `max_frames`, average the most similar adjacent pair; without it, close the
            segment there (nothing is averaged, for the mode that keeps everything).
        max_seconds: close a segment that spans this long even inside one scene, so that what has
            been seen reaches the disk; None never does (the published setting).
        first: number of the first segment (later than 0 when an ingest is continued).
    """

    def __init__(
        self,
        rule: CutRule,
        *,
        min_frames: int = 4,
        max_frames: int = 64,
        merge: bool = True,
        max_seconds: float | None = None,
        first: int = 0,
    ) -> None:
        if not 1 <= min_frames <= max_frames:
            raise ValueError(f"min_frames {min_frames} must lie between 1 and {max_frames}")
        self.rule = rule
        self.min_frames = min_frames
        self.max_frames = max_frames
        self.merge = merge
        self.max_seconds = max_seconds
        self._open = Segment(first)
        self._previous: Tensor | None = None
        self._changes: list[float] = []

    def push(
        self,
        features: Tensor,
        time: float,
        embedding: Tensor | None = None,
        *,
        end: float | None = None,
        frames: int = 1,
        number: int = 0,
    ) -> Iterator[Segment]:
        """Take the next frame; yields the segment that it ends, if it ends one.

        Args:
            features: [P, D] projected features of the frame.
            time: its presentation time, seconds.
            embedding: [D'] vector the cut is decided on; None: mean of the projected features.
            end: time of the last frame in it, where it is a block of several.
            frames: sampled frames in it.
            number: of it in the video.
        """
        vector = features.double().mean(dim=0) if embedding is None else embedding
        piece = Piece(features, time, time if end is None else end, frames, number=number)
        if self._previous is not None:
            # Compared with the previous frame as it was, never with an average (published code).
            s = similarity(self._previous, vector)
            changed = self.rule.is_cut(s)
            self._changes.append(1.0 - s)
            if self._open.pieces:
                piece.similarity = s
                if (changed and len(self._open.pieces) >= self.min_frames) or self._is_full(time):
                    yield self._close()
        self._previous = vector
        if not self._open.pieces:
            piece.similarity = 0.0
        self._open.pieces.append(piece)
        if len(self._open.pieces) > self.max_frames:
            self._merge_most_similar()

    def finish(self) -> Iterator[Segment]:
        """Yields the open segment at the end of the stream, however short."""
        if self._open.pieces:
            yield self._close()

    def _is_full(self, time: float) -> bool:
        spans_long = self.max_seconds is not None and (
            time - self._open.pieces[0].start >= self.max_seconds
            and len(self._open.pieces) >= self.min_frames
        )
        return spans_long or (not self.merge and len(self._open.pieces) >= self.max_frames)

    def _close(self) -> Segment:
        closed = self._open
        closed.changes, self._changes = self._changes, []
        self._open = Segment(closed.number + 1)
        return closed

    def _merge_most_similar(self) -> None:
        """Average the most similar adjacent pair, the earliest of equals (paper, section 3.1)."""
        pieces = self._open.pieces
        later = max(range(1, len(pieces)), key=lambda i: pieces[i].similarity)
        a, b = pieces[later - 1], pieces[later]
        merged = Piece(
            (a.features + b.features) / 2,
            a.start,
            b.end,
            a.frames + b.frames,
            a.similarity,
            a.number,
        )
        pieces[later - 1 : later + 1] = [merged]
        if later - 1 > 0:
            merged.similarity = similarity(pieces[later - 2].features, merged.features)
        if later < len(pieces):
            pieces[later].similarity = similarity(merged.features, pieces[later].features)
