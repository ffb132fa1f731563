"""Compose training videos of clips, with questions, as batches of tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .clips import Clips
from .ingested import Ingested, ingested
from .packing import Batch, Tokens, Video, pack, proofs
from .questions import Asker, Kind, Question, description
from .world import IDLE, Scene, Split, Thing

KINDS: dict[Kind, float] = {
    "colour": 1.0,
    "shape": 1.0,
    "place": 1.5,
    "number": 1.5,
    "exists": 1.5,
    "order": 4.0,
    "motion": 3.0,
    "counting": 3.0,
    "none": 3.0,
    "off-world": 0.2,
}
"""How often each kind is asked in training."""
CASTS = (6, 24)
"""Fewest and most different objects of a video."""
RETURNS = (0.1, 0.5)
"""Least and largest share of scenes that come back while there are objects not yet shown."""

SHORTEST = 4
"""Frames that a segment has at least, as in the program."""
SUMMED = 0.85
"""Share of videos that have summary blocks, where they are read as at an ingest."""
MISSED, FALSE = 0.05, 0.02
"""How often a cut is not seen between scenes, and made behind a frame within one."""


class Composer:
    """Draws batches.

    Args:
        clips: to compose of.
        tokens: of the texts.
        split: of the wordings.
    """

    def __init__(self, clips: Clips, tokens: Tokens, split: Split) -> None:
        self.clips, self.tokens, self.split = clips, tokens, split
        self._things = [thing for thing in clips.by_thing if thing is not None]

    def video(
        self,
        rng: np.random.Generator,
        frames: int,
        run: tuple[int, int],
        summaries: bool,
        shortest: int,
        sure: bool = True,
    ) -> Video:
        """A video of `frames` frames.

        Args:
            run: fewest and most frames of a scene.
            summaries: whether a summary block follows each segment.
            shortest: frames a segment has at least.
            sure: every scene is cut from the next, and nowhere else; otherwise some cuts are missed
                and some made within a scene.
        """
        size = int(rng.integers(CASTS[0], CASTS[1] + 1))
        cast = [self._things[i] for i in rng.permutation(len(self._things))[:size]]
        returning = float(rng.uniform(*RETURNS))
        scenes: list[Scene] = []
        shown: list[int] = []
        rows: list[tuple[int, int]] = []
        video = Video(scenes, [], [], [], [], [], summaries)
        segment: list[tuple[int, int]] = []
        number = 0
        while len(rows) < frames:
            clip = self._next_clip(rng, scenes, shown, cast, returning)
            # What is left is too little for a scene of its own: this one lasts to the end.
            length = int(rng.integers(run[0], run[1] + 1))
            left = frames - len(rows)
            length = left if left - length < run[0] else length
            run_rows = self.clips.run(clip, length, rng)
            scenes.append(self._scene(run_rows, len(rows)))
            clear = [bool(self.clips.clear[row]) for row in run_rows]
            ways = self._ways(run_rows, clear)
            for i, row in enumerate(run_rows):
                rows.append(row)
                segment.append(row)
                video.blocks.append([row])
                video.owners.append(len(scenes) - 1)
                video.clear.append(clear[i])
                video.way.append(ways[i])
                video.segments.append(number)
                done = len(rows) >= frames
                if not done and (len(segment) < shortest or not self._is_cut(rng, i, length, sure)):
                    continue
                if summaries:
                    video.blocks.append(segment)
                    video.owners.append(len(scenes) - 1)
                    video.clear.append(False)
                    video.way.append(video.way[-1])
                    video.segments.append(number)
                segment, number = [], number + 1
        return video

    @staticmethod
    def _is_cut(rng: np.random.Generator, frame: int, length: int, sure: bool) -> bool:
        """Whether a segment ends behind a frame of a scene."""
        last = frame == length - 1
        return last if sure else bool(rng.random() < (1 - MISSED if last else FALSE))

    def _next_clip(
        self,
        rng: np.random.Generator,
        scenes: Sequence[Scene],
        shown: list[int],
        cast: list[Thing],
        returning: float,
    ) -> int:
        last = scenes[-1].fact if scenes else None
        if last is not None and last.thing is not None and rng.random() < IDLE:
            idle = self.clips.by_thing[None]
            return idle[rng.integers(len(idle))]
        again = [c for c in shown if self.clips.facts[c] != last]
        if again and (not cast or rng.random() < returning):
            clip = again[rng.integers(len(again))]
            same = self.clips.by_fact[self.clips.facts[clip]]
            return same[rng.integers(len(same))]
        clips = self.clips.by_thing[cast.pop()]
        clip = clips[rng.integers(len(clips))]
        shown.append(clip)
        return clip

    def batch(
        self,
        rng: np.random.Generator,
        videos: int,
        questions: int,
        *,
        frames: tuple[int, int],
        run: tuple[int, int],
        layers: int,
        kinds: dict[Kind, float] = KINDS,
        longest: int = 30,
        summary_share: float = 0.5,
        drop_share: float = 0.5,
        ingest_share: float = 0.0,
        guide: bool = False,
    ) -> Batch:
        """A batch of videos of one number of frames, drawn from `frames`.

        Args:
            ingest_share: how often the videos are read segment by segment, as at an ingest.
            guide: the guidance prompt is one of the questions; its answer describes the last scene.
        """
        count = int(rng.integers(frames[0], frames[1] + 1))
        ingest = ingest_share > 0 and rng.random() < ingest_share
        if ingest:  # what is shorter than a segment may be has no summary block to be found by
            run = (max(run[0], min(SHORTEST, frames[0])), max(run[1], SHORTEST))
        made = []
        for _ in range(videos):
            shortest = SHORTEST if ingest or rng.random() < 0.25 else 1
            summaries = rng.random() < (SUMMED if ingest else summary_share)
            made.append(self.video(rng, count, run, summaries, shortest, not ingest))
        asked = [self._ask(rng, video, questions, kinds, longest) for video in made]
        if guide:
            for video, about in zip(made, asked, strict=True):
                about[-1] = Question("guide", "", description(video.scenes[-1].fact), ())
        how: Ingested | None = None
        if ingest:
            how, kept = ingested(rng, made, layers)
        else:
            drop = float(rng.uniform(0.2, 0.9)) if rng.random() < drop_share else 0.0
            kept = [_kept(rng, made, drop) for _ in range(layers if drop else 1)]
            kept = kept if drop else kept * layers
        return Batch(
            video=self._features(made),
            blocks=torch.tensor([len(video.blocks) for video in made]),
            kept=kept,
            **pack(asked, self.tokens),
            **proofs(made, asked),
            questions=asked,
            ingested=how,
        )

    def _ask(
        self,
        rng: np.random.Generator,
        video: Video,
        count: int,
        kinds: dict[Kind, float],
        longest: int,
    ) -> list[Question]:
        asker = Asker(video.scenes, rng, self.split)
        names = list(kinds)
        weights = np.array([kinds[name] for name in names])
        weights /= weights.sum()
        asked: list[Question] = []
        while len(asked) < count:
            question = asker.ask(names[rng.choice(len(names), p=weights)])
            if question is None:
                continue
            if question.kind == "motion" and not _shows_motion(video, question):
                continue
            if len(self.tokens.asked(question.text).after) <= longest:
                asked.append(question)
        return asked

    def _features(self, videos: list[Video]) -> Tensor:
        longest = max(len(video.blocks) for video in videos)
        tokens = self.clips.tokens
        features = torch.zeros(len(videos), longest, *tokens.shape[2:])
        for row, video in enumerate(videos):
            single = [block[0] for block in video.blocks]
            clips, frames = map(list, zip(*single, strict=True))
            features[row, : len(single)] = tokens[clips, frames].float()
            for place, block in enumerate(video.blocks):
                if len(block) > 1:
                    clips, frames = map(list, zip(*block, strict=True))
                    features[row, place] = tokens[clips, frames].float().mean(dim=0)
        return features

    def _scene(self, rows: list[tuple[int, int]], start: int) -> Scene:
        """The scene that a run of frames shows, one second a frame."""
        gone = [start + i for i, row in enumerate(rows) if self.clips.away[row]]
        away = (float(gone[0]), float(gone[-1] + 1)) if gone else (0.0, 0.0)
        end = float(start + len(rows))
        fact = self.clips.facts[rows[0][0]]
        return Scene(fact, float(start), end, False, 0.5, 0.25, 0.0, away)

    def _ways(self, rows: list[tuple[int, int]], clear: list[bool]) -> list[float]:
        """How much of its way the object has been seen to go, at each frame of a run."""
        ways, first = [], None
        for number, row in enumerate(rows):
            if number and row[0] != rows[number - 1][0]:
                first = None
            along = float(self.clips.along[row])
            first = along if first is None and clear[number] else first
            ways.append(along - first if first is not None and clear[number] else 0.0)
        return ways


def _shows_motion(video: Video, question: Question) -> bool:
    starts = {start for start, _ in question.proof}
    facts = {scene.fact for scene in video.scenes if scene.start in starts}
    return all(map(video.shows_motion, facts))


def _kept(rng: np.random.Generator, videos: list[Video], drop: float) -> Tensor:
    """[B, K] blocks that are left when a share is dropped; one clear frame a scene stays."""
    rows = []
    for video in videos:
        owners = np.array(video.owners)
        keep = rng.random(len(owners)) >= drop
        summary = np.array([len(block) > 1 for block in video.blocks])
        for scene in range(len(video.scenes)):
            own = np.flatnonzero((owners == scene) & np.array(video.clear))
            if len(own) and not keep[own].any():
                keep[own[rng.integers(len(own))]] = True
        rows.append(np.flatnonzero(keep | summary))
    longest = max(map(len, rows))
    kept = torch.full((len(rows), longest), -1)
    for i, row in enumerate(rows):
        kept[i, : len(row)] = torch.from_numpy(row)
    return kept
