"""The films of the benchmark: rendered worlds with their questions, and when they are asked.

A pair of films shares its beginning, pixel for pixel: the first ten minutes of an hour, the first
hour of ten. The questions about the beginning are asked of both, so that "right after" and "long
after" differ in nothing but the time between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from examples.demo_model.evaluate import KINDS
from examples.demo_model.questions import Asker, Question
from examples.demo_model.render import write_video
from examples.demo_model.world import Scene, Split, World, draw_cast

_TRIES = 60
"""Draws for one question; some kinds are seldom possible about a given film."""


@dataclass(frozen=True)
class Film:
    """One rendered video, and what is asked about it: its first chapter.

    Attributes:
        name: identifies it.
        seed, split: of its worlds.
        length: "10 min", "1 h" or "10 h".
        chapters: seconds at which the chapters end, each with objects of its own.
        cast: different objects of each chapter.
        shown: chapters that the video has; the others are there only for the questions to be true
            of the longer film as well.
    """

    name: str
    seed: int
    split: Split
    length: str
    chapters: tuple[float, ...]
    cast: tuple[int, ...]
    shown: int = 1

    @property
    def asked(self) -> str:
        """How long after the first chapter its questions are asked."""
        return "right after" if self.shown == 1 else "long after"

    @property
    def seconds(self) -> float:
        """About how long it is; it ends with a scene."""
        return self.chapters[self.shown - 1]

    def stream(self, chapters: int) -> "Chapters":
        """Pictures and truth of its first chapters."""
        return Chapters(self.seed, self.split, self.chapters[:chapters], self.cast)


class Chapters:
    """Worlds one after another as one stream of scenes, no object in two of them.

    Stands for a `World` where one is rendered: it has its scenes, light and noise.

    Args:
        seed, split: as of a world.
        ends: seconds after which the scene then shown is the last of its chapter.
        cast: different objects of each chapter, also of those that `ends` does not reach: a film
            and its beginning are to show the same.
    """

    def __init__(self, seed: int, split: Split, ends: Sequence[float], cast: Sequence[int]) -> None:
        self.seed, self.split = seed, split
        facts = draw_cast(np.random.default_rng([seed, 0xCA57]), sum(cast), split)
        first = np.cumsum([0, *cast])
        self._worlds = [
            World(seed * 16 + i, split, facts[first[i] : first[i + 1]]) for i in range(len(ends))
        ]
        self._ends = list(ends)
        self.noise = self._worlds[0].noise
        self.light = self._worlds[0].light

    def scenes(self) -> Iterator[Scene]:
        """All scenes in order; the last chapter goes on for ever."""
        start = 0.0
        last = len(self._worlds) - 1
        for number, (world, end) in enumerate(zip(self._worlds, self._ends, strict=True)):
            chapter = start
            for scene in world.scenes():
                moved = _moved(scene, chapter)
                yield moved
                start = moved.end
                if number < last and start >= end:
                    break

    def until(self, seconds: float) -> list[Scene]:
        """The scenes up to the one that is shown at `seconds`, that one included."""
        found: list[Scene] = []
        for scene in self.scenes():
            found.append(scene)
            if scene.end >= seconds:
                return found
        raise AssertionError("the stream has no end")


def _moved(scene: Scene, by: float) -> Scene:
    away = (scene.away[0] + by, scene.away[1] + by)
    start, end = round(scene.start + by, 3), round(scene.end + by, 3)
    return replace(scene, start=start, end=end, away=away)


def film_pool(split: Split, ten: int, hours: int, ten_hours: int, seed: int) -> list[Film]:
    """Films of a split: so many of ten minutes, and so many pairs of each longer kind."""
    films = [
        Film(f"{split}-{number}", number, split, "10 min", (600.0,), (16,))
        for number in range(seed, seed + ten)
    ]
    for length, count, chapters, cast in (
        ("1 h", hours, (600.0, 3600.0), (16, 16)),
        ("10 h", ten_hours, (3600.0, 36_000.0), (16, 16)),
    ):
        for number in range(seed + 50, seed + 50 + count):
            name = f"{split}-{number}-{length.replace(' ', '')}"
            early = Film(f"{name}-early", number, split, length, chapters, cast)
            films += [early, replace(early, name=f"{name}-late", shown=2)]
    return films


def questions_about(film: Film, each: int) -> list[Question]:
    """`each` questions of every kind about the first chapter, true of all chapters.

    That something is absent, or that a description fits one thing only, is to be true of the long
    film as of its beginning.
    """
    scenes = film.stream(len(film.chapters)).until(film.chapters[-1])
    begun = film.stream(1).until(film.chapters[0])[-1].end
    asker = Asker(scenes, np.random.default_rng([film.seed, 0xA5C]), film.split)
    asked: dict[str, Question] = {}
    for kind in KINDS:
        if kind == "off-world":
            continue  # needs no video
        found: dict[str, Question] = {}
        for _ in range(_TRIES * each):
            question = asker.ask(kind)
            if question is None or question.text in asked or len(found) == each:
                continue
            if all(end <= begun for _, end in question.proof):
                found[question.text] = question
        asked |= found
    return list(asked.values())


def render(film: Film, folder: Path, *, rate: int = 2, height: int = 120) -> Path:
    """Write the film as H.264, whole scenes only.

    Two pictures a second are enough where one in two seconds is sampled.
    """
    stream = film.stream(film.shown)
    end = stream.until(film.seconds)[-1].end
    path = folder / f"{film.name}.mp4"
    return write_video(stream, path, end, fps=rate, height=height, width=height * 4 // 3)
