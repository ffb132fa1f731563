"""Frames in the groups they are worked on: batches for the vision tower, blocks for the memory."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Protocol

import numpy as np

from streamkv_cli.video import Frame, VideoInfo


class Frames(Protocol):
    """Sampled frames in order, and what video they are of."""

    @property
    def info(self) -> VideoInfo:
        """The video."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Them, one by one."""
        ...


class Clock(Protocol):
    """Takes the time of a stage."""

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the wall time of a block of code to a stage."""
        ...


def batches(reader: Iterable[Frame], size: int, clock: Clock) -> Iterator[list[Frame]]:
    """Frames in batches aligned to the sampling grid; the wait for them is the decode stage."""
    frames = iter(reader)
    batch: list[Frame] = []
    while True:
        with clock.timed("decode"):
            frame = next(frames, None)
        if batch and (frame is None or frame.index // size != batch[0].index // size):
            yield batch
            batch = []
        if frame is None:
            return
        batch.append(frame)
        if (frame.index + 1) % size == 0:
            yield batch
            batch = []


def blocks_of_frames(frames: Sequence[Frame], size: int) -> list[list[Frame]]:
    """Frames grouped into blocks of `size` on the sampling grid.

    A group is short where damaged pictures were left out, and at the end of the video.
    """
    return [list(group) for _, group in groupby(frames, lambda frame: frame.index // size)]


def pictures(blocks: Sequence[Sequence[Frame]], size: int) -> list[np.ndarray]:
    """Pictures of all blocks; a short block is filled up with its last one, as families do."""
    return [
        frame.pixels for block in blocks for frame in (*block, *[block[-1]] * (size - len(block)))
    ]
