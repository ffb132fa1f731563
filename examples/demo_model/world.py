"""The demo world: an endless, seeded stream of scenes whose truth is known.

A scene is one place (a ground of one colour and texture), most of the time an object on it and a
number on the screen. A video has a cast of scenes; new ones are introduced and old ones come back,
so that facts stay true however long the stream runs: no two members of a cast show the same object.

Grow the world with the constants; everything else follows from them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

SHAPES = ("circle", "square", "triangle", "cross", "ring", "moon")
COLOURS = {
    "red": (225, 35, 35),
    "yellow": (245, 225, 40),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
    "blue": (40, 70, 235),
    "pink": (255, 130, 200),
}
GROUNDS = {
    "green": (50, 130, 60),
    "brown": (125, 80, 45),
    "grey": (125, 125, 130),
    "purple": (105, 60, 140),
}
TEXTURES = ("plain", "striped", "dotted")
NUMBERS = tuple(str(number) for number in range(10))
MOTIONS = ("left", "right", "up", "down", "still")

CAST = 16
"""Different scenes of one world."""
SCENE_SECONDS = (8.0, 20.0)
RETURNING = 0.2
"""Share of scenes that are an earlier one again, while the cast is not yet used up."""
IDLE = 0.1
"""Share of stretches in which nothing is to be seen but an empty ground."""
FADING = 0.35
"""Share of scenes that begin by fading in from black; the others begin with a hard cut."""
FADE_SECONDS = 1.5
AWAY = 0.3
"""Share of scenes whose object leaves for a while and comes back."""
HELD_OUT = 8
"""One in this many pairings of an object with a place is kept for the test split."""

Split = Literal["train", "test"]


@dataclass(frozen=True, order=True)
class Thing:
    """An object: indices into SHAPES and COLOURS."""

    colour: int
    shape: int

    @property
    def words(self) -> str:
        """As a question names it, "red moon"."""
        return f"{list(COLOURS)[self.colour]} {SHAPES[self.shape]}"


@dataclass(frozen=True, order=True)
class Place:
    """A ground: indices into GROUNDS and TEXTURES."""

    ground: int
    texture: int

    @property
    def words(self) -> str:
        """As an answer names it, "striped green"."""
        return f"{TEXTURES[self.texture]} {list(GROUNDS)[self.ground]}"


@dataclass(frozen=True)
class Fact:
    """What is true of a scene, however often it is shown; an idle stretch has only a place.

    `motion` is the way the object goes, index into MOTIONS: the same in every showing, so that it
    can be asked for after any time.
    """

    place: Place
    thing: Thing | None = None
    number: int | None = None
    motion: int | None = None


@dataclass(frozen=True)
class Scene:
    """One showing of a fact.

    Attributes:
        fact: what is shown.
        start, end: seconds.
        fades: it comes up from black; otherwise the picture changes at once.
        across: where it is on the other axis, 0 to 1.
        size: radius of the object, 1 = height of the picture.
        phase: where the texture begins.
        away: seconds during which the object is out of the picture; equal when it never is.
    """

    fact: Fact
    start: float
    end: float
    fades: bool
    across: float
    size: float
    phase: float
    away: tuple[float, float]

    def along(self, second: float) -> float:
        """How much of its way the object has gone, 0 to 1."""
        return min(1.0, max(0.0, (second - self.start) / (self.end - self.start)))

    def position(self, second: float) -> tuple[float, float]:
        """Where the object is, 0 to 1 from left to right and from top to bottom."""
        along = self.along(second)
        if self.fact.motion is None:
            return (0.5, 0.5)
        return {
            "left": (1 - along, self.across),
            "right": (along, self.across),
            "up": (self.across, 1 - along),
            "down": (self.across, along),
            "still": (self.across, 0.25 + 0.5 * self.phase),
        }[MOTIONS[self.fact.motion]]

    def brightness(self, second: float) -> float:
        """1, or less while it fades in."""
        return min(1.0, (second - self.start) / FADE_SECONDS) if self.fades else 1.0

    def shows_thing(self, second: float) -> bool:
        """Whether the object is in the picture."""
        present = self.fact.thing is not None
        return present and not self.away[0] <= second < self.away[1]


def is_held_out(thing: Thing, place: Place) -> bool:
    """Whether this pairing of an object with a place is only ever seen in the test split."""
    code = thing.colour * 7 + thing.shape * 3 + place.ground * 5 + place.texture * 11
    return code % HELD_OUT == 0


@cache
def _pairings(split: Split) -> dict[Thing, tuple[Place, ...]]:
    """Places an object may be seen in; the test split also has the held-out ones."""
    places = [Place(g, t) for g in range(len(GROUNDS)) for t in range(len(TEXTURES))]
    things = [Thing(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES))]
    return {
        thing: tuple(p for p in places if split == "test" or not is_held_out(thing, p))
        for thing in things
    }


def draw_cast(rng: np.random.Generator, size: int, split: Split) -> list[Fact]:
    """Facts of a world: no object in two of them; half the test split's pairings are held out."""
    allowed = _pairings(split)
    things = sorted(allowed)
    cast = []
    for i in rng.permutation(len(things))[:size]:
        thing = things[i]
        places = allowed[thing]
        held_out = [p for p in places if is_held_out(thing, p)]
        if held_out and rng.random() < 0.5:
            places = tuple(held_out)
        place = places[rng.integers(len(places))]
        number, motion = int(rng.integers(len(NUMBERS))), int(rng.integers(len(MOTIONS)))
        cast.append(Fact(place, thing, number, motion))
    return cast


class World:
    """A seeded stream of scenes without end.

    Args:
        seed: two worlds of one seed and split are the same to the last pixel.
        split: "test" also has pairings of object and place that training never shows.
        cast: the facts it shows; drawn where none are given.
    """

    def __init__(
        self, seed: int, split: Split = "train", cast: Sequence[Fact] | None = None
    ) -> None:
        self.seed = seed
        self.split: Split = split
        self._rng = np.random.default_rng([seed, split == "test"])
        self._cast = draw_cast(self._rng, CAST, split) if cast is None else list(cast)
        self._shown: list[Fact] = []
        self._scenes: list[Scene] = []
        # Light drifts slowly around its mean; noise is the camera's.
        self.light_period = float(self._rng.uniform(60, 300))
        self.light_depth = float(self._rng.uniform(0.0, 0.15))
        self.noise = float(self._rng.uniform(1.0, 6.0))

    def light(self, second: float) -> float:
        """Factor on all brightness."""
        return 1.0 + self.light_depth * float(np.sin(2 * np.pi * second / self.light_period))

    def scenes(self) -> Iterator[Scene]:
        """All scenes in order, as many as are asked for."""
        number = 0
        while True:
            while number >= len(self._scenes):
                self._scenes.append(self._next_scene())
            yield self._scenes[number]
            number += 1

    def until(self, seconds: float) -> list[Scene]:
        """Scenes that begin before `seconds`, in order."""
        found: list[Scene] = []
        for scene in self.scenes():
            if scene.start >= seconds:
                return found
            found.append(scene)
        raise AssertionError("the stream has no end")

    def _next_scene(self) -> Scene:
        rng = self._rng
        fact = self._next_fact()
        start = self._scenes[-1].end if self._scenes else 0.0
        # Whole milliseconds: the same in every file format.
        length = round(float(rng.uniform(*SCENE_SECONDS)), 3)
        away = (0.0, 0.0)
        if rng.random() < AWAY:
            begin = start + length * float(rng.uniform(0.3, 0.6))
            away = (begin, begin + length * float(rng.uniform(0.1, 0.25)))
        return Scene(
            fact,
            start,
            round(start + length, 3),
            fades=bool(rng.random() < FADING),
            across=float(rng.random()),
            size=float(rng.uniform(0.2, 0.28)),
            phase=float(rng.random()),
            away=away,
        )

    def _next_fact(self) -> Fact:
        rng = self._rng
        last = self._scenes[-1].fact if self._scenes else None
        if last is not None and last.thing is not None and rng.random() < IDLE:
            return Fact(Place(int(rng.integers(len(GROUNDS))), int(rng.integers(len(TEXTURES)))))
        again = [fact for fact in self._shown if fact != last]
        fresh = len(self._shown) < len(self._cast)
        if again and not (fresh and rng.random() >= RETURNING):
            return again[rng.integers(len(again))]
        fact = self._cast[len(self._shown)]
        self._shown.append(fact)
        return fact
