"""How a video's blocks stand in the text: which slots a block has, and the positions they get.

Stored keys are rotation-free, so positions are given anew whenever blocks become a context: one
after another in time, the way the model would have numbered a video of just these blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """A point in the text that blocks, or words, may follow.

    Attributes:
        axes: where the next block stands, one position an axis of the RoPE.
        text: where the next word stands, on all axes.
        blocks: of the video so far.
    """

    axes: tuple[int, ...]
    text: int
    blocks: int = 0

    @classmethod
    def after_text(cls, count: int, axes: int) -> "Place":
        """Behind `count` words that begin at 0."""
        return cls((count,) * axes, count)


def furthest(places: Sequence[Place]) -> Place:
    """A place that lies behind no other of them, axis by axis."""
    return Place(
        tuple(map(max, zip(*(place.axes for place in places), strict=True))),
        max(place.text for place in places),
        max(place.blocks for place in places),
    )


@dataclass(frozen=True)
class Layout:
    """Blocks of one video. This one numbers tokens one by one, as models without M-RoPE do.

    A block's P slots are `head` slots for words before the picture, rows x columns visual tokens,
    and `tail` words behind it. Shorter words leave the first slots of `head` unused: a block skips
    them (they hold zeros in the store) whenever it becomes part of a context.

    Attributes:
        rows, columns: of the grid of visual tokens.
        frames: sampled frames that make one block.
        head, tail: slots for words.
    """

    rows: int
    columns: int
    frames: int = 1
    head: int = 0
    tail: int = 0

    axes: ClassVar[int] = 1

    @property
    def tokens(self) -> int:
        """P, the slots of a stored block."""
        return self.head + self.rows * self.columns + self.tail

    @property
    def visual(self) -> slice:
        """Slots of the visual tokens."""
        return slice(self.head, self.head + self.rows * self.columns)

    def blocks(self, place: Place, skips: Sequence[int]) -> tuple[Tensor, Place]:
        """Positions of the slots in use of blocks from `place` on, and the place behind them.

        Args:
            skips: for each block, how many of its first slots are unused.

        Returns:
            [axes, N] for N slots in use.
        """
        lengths = self._advance - torch.tensor(skips, dtype=torch.long)
        ends = lengths.cumsum(0)
        starts = ends - lengths - torch.tensor(skips, dtype=torch.long)  # of the first slot
        origin = torch.tensor(place.axes).view(-1, 1, 1)
        positions = (origin + starts.view(1, -1, 1) + self._template.unsqueeze(1)).flatten(1)
        if (rows := self.rows_in_use(skips)) is not None:
            positions = positions[:, rows]
        moved = int(ends[-1]) if len(skips) else 0
        end = tuple(axis + moved for axis in place.axes)
        return positions, Place(end, end[0], place.blocks + len(skips))

    def after(self, place: Place, count: int) -> Place:
        """The place behind `count` blocks that use all their slots."""
        return self.blocks(place, [0] * count)[1]

    def rows_in_use(self, skips: Sequence[int]) -> Tensor | None:
        """Indices of the slots in use among the n x P slots of n blocks; None for all."""
        if not any(skips):
            return None
        used = torch.arange(self.tokens) >= torch.tensor(skips).unsqueeze(1)
        return used.flatten().nonzero().squeeze(1)

    @property
    def _advance(self) -> int:
        """Positions that a block with all its slots takes."""
        return self.tokens

    @cached_property
    def _template(self) -> Tensor:
        """[axes, P] position of each slot, counted from the first."""
        return torch.arange(self.tokens).unsqueeze(0)


@dataclass(frozen=True)
class PlaneLayout(Layout):
    """M-RoPE with every block a picture of its own between words: time, height and width.

    A visual token stands at (t, t + row, t + column) for a picture at t; what follows the picture
    stands behind its longer side.
    """

    axes: ClassVar[int] = 3

    @property
    def _advance(self) -> int:
        return self.head + max(self.rows, self.columns) + self.tail

    @cached_property
    def _template(self) -> Tensor:
        before = torch.arange(self.head)
        behind = self.head + max(self.rows, self.columns) + torch.arange(self.tail)
        time, row, column = grid(self.rows, self.columns)
        return torch.stack(
            [torch.cat([before, self.head + axis, behind]) for axis in (time, row, column)]
        )


@dataclass(frozen=True)
class FilmLayout(Layout):
    """M-RoPE with the whole video one solid: blocks differ in time, and share rows and columns.

    Block i stands at time floor(i x interval) behind the place where the video begins.

    Attributes:
        seconds: between two blocks.
        rate: positions a second.
        text_after_time: whether words go on behind the latest time, or only behind the picture's
            longer side, wherever time has come to meanwhile.
    """

    seconds: float = 1.0
    rate: float = 1.0
    text_after_time: bool = True

    axes: ClassVar[int] = 3

    def blocks(self, place: Place, skips: Sequence[int]) -> tuple[Tensor, Place]:
        """As `Layout.blocks`; blocks of a film have no words of their own."""
        count = len(skips)
        if not count:
            return torch.empty((3, 0), dtype=torch.long), place
        times = self._times(place.blocks, count + 1) + place.axes[0]
        _, row, column = grid(self.rows, self.columns)
        positions = torch.stack(
            [
                times[:count].repeat_interleave(len(row)),
                (place.axes[1] + row).repeat(count),
                (place.axes[2] + column).repeat(count),
            ]
        )
        text = max(place.axes[1] + self.rows, place.axes[2] + self.columns)
        if self.text_after_time:
            text = max(text, int(times[count - 1]) + 1)
        end = (int(times[count]), place.axes[1], place.axes[2])
        return positions, Place(end, max(place.text, text), place.blocks + count)

    def _times(self, first: int, count: int) -> Tensor:
        """Times of blocks first, first + 1, ... less that of the first; in float32, as stock."""
        interval = self.rate * torch.tensor(self.seconds, dtype=torch.float32)
        times = (torch.arange(first, first + count) * interval).long()
        return times - times[0]


def grid(rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Time (0), row and column of each of rows x columns tokens, row by row."""
    row = torch.arange(rows).repeat_interleave(columns)
    return torch.zeros_like(row), row, torch.arange(columns).repeat(rows)
