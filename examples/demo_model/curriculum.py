"""What videos the language model is trained on, from short to long."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """One stretch of the curriculum.

    Attributes:
        frames: fewest and most frames of a video.
        run: fewest and most frames of a scene.
        videos, questions: videos in a batch, questions about each.
        summary_share, drop_share: videos with summary blocks; batches whose questions see only a
            part of the blocks, another part in each layer.
        ingest_share: batches that are read segment by segment, as an ingest does.
        until: mean share of right answers at which the next phase begins.
        most: steps after which it begins anyway.
    """

    frames: tuple[int, int]
    run: tuple[int, int]
    videos: int
    questions: int
    summary_share: float
    drop_share: float
    ingest_share: float
    until: float
    most: int


CURRICULUM = (
    Phase((3, 6), (1, 2), 6, 14, 0.0, 0.0, 0.0, 0.80, 2000),
    Phase((8, 24), (1, 4), 6, 16, 0.4, 0.3, 0.2, 0.88, 1500),
    Phase((24, 84), (2, 10), 4, 20, 0.5, 0.5, 0.75, 2.0, 2200),
    Phase((96, 320), (3, 10), 2, 32, 0.6, 0.5, 0.75, 2.0, 100_000),
)
AT_LAST = (0.02, 0.08, 0.57, 0.33)
"""Shares of the phases once the last has begun: long videos are few, since they cost most."""
