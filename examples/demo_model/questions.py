"""Questions about the world, their answers, and the seconds that prove them.

An answer is only ever asked for where the scenes seen so far admit exactly one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .wordings import NOTHING, OFF_WORLD, OFF_WORLD_TEXTS, wording
from .world import (
    COLOURS,
    GROUNDS,
    MOTIONS,
    NUMBERS,
    SHAPES,
    TEXTURES,
    Fact,
    Place,
    Scene,
    Split,
    Thing,
)

Kind = Literal[
    "colour",
    "shape",
    "place",
    "number",
    "exists",
    "order",
    "motion",
    "counting",
    "none",
    "off-world",
    "guide",
]
"""All but `guide`, the guidance prompt in training, are asked."""

MOST = 2
"""More showings of a thing than this are not asked for."""


@dataclass(frozen=True)
class Question:
    """A question with its truth.

    Attributes:
        kind: as the accuracy is reported.
        text, answer: as asked, and word for word what is right.
        proof: stretches of seconds that show it; empty where absence is the answer.
    """

    kind: Kind
    text: str
    answer: str
    proof: tuple[tuple[float, float], ...]


class Asker:
    """Draws questions about a run of scenes.

    Args:
        scenes: what has been seen, in order.
        rng: of the draws.
        split: of the wordings.
    """

    def __init__(self, scenes: Sequence[Scene], rng: np.random.Generator, split: Split) -> None:
        self.scenes = list(scenes)
        self.rng = rng
        self.split: Split = split
        self.facts = list({scene.fact: None for scene in scenes if scene.fact.thing is not None})

    def ask(self, kind: Kind) -> Question | None:
        """One question of a kind; None if these scenes admit none."""
        draw = {
            "colour": self._colour,
            "shape": self._shape,
            "place": self._place,
            "number": self._number,
            "exists": self._exists,
            "order": self._order,
            "motion": self._motion,
            "counting": self._counting,
            "none": self._none,
            "off-world": self._off_world,
        }[kind]
        return draw()

    def _pick(self) -> tuple[Fact, Thing]:
        fact = self.facts[self.rng.integers(len(self.facts))]
        assert fact.thing is not None
        return fact, fact.thing

    def _proof(self, fact: Fact) -> tuple[tuple[float, float], ...]:
        return tuple((s.start, s.end) for s in self.scenes if s.fact == fact)

    def _say(self, kind: str, **names: str) -> str:
        return wording(self.rng, kind, self.split, **names)

    def _colour(self) -> Question | None:
        fact, thing = self._pick()
        if len(_colours(self.facts, thing.shape, fact.place)) != 1:
            return None
        text = self._say("colour", shape=SHAPES[thing.shape], place=fact.place.words)
        return Question("colour", text, list(COLOURS)[thing.colour], self._proof(fact))

    def _shape(self) -> Question | None:
        fact, thing = self._pick()
        if len(_shapes(self.facts, thing.colour, fact.place)) != 1:
            return None
        text = self._say("shape", colour=list(COLOURS)[thing.colour], place=fact.place.words)
        return Question("shape", text, SHAPES[thing.shape], self._proof(fact))

    def _place(self) -> Question | None:
        fact, thing = self._pick()
        text = self._say("place", thing=thing.words)
        return Question("place", text, fact.place.words, self._proof(fact))

    def _number(self) -> Question | None:
        fact, thing = self._pick()
        assert fact.number is not None
        text = self._say("number", thing=thing.words)
        return Question("number", text, NUMBERS[fact.number], self._proof(fact))

    def _exists(self) -> Question | None:
        fact, thing = self._pick()
        if self.rng.random() < 0.5:
            text = self._say("exists", thing=thing.words)
            return Question("exists", text, "yes", self._proof(fact))
        absent = self._absent_thing()
        if absent is None:
            return None
        return Question("exists", self._say("exists", thing=absent.words), "no", ())

    def _order(self) -> Question | None:
        fact, thing = self._pick()
        followers = followers_of(self.scenes, fact)
        if followers is None or len(followers) != 1:
            return None
        (after,) = followers
        assert after.thing is not None
        text = self._say("order", thing=thing.words)
        return Question("order", text, after.thing.words, self._proof(fact) + self._proof(after))

    def _motion(self) -> Question | None:
        fact, thing = self._pick()
        assert fact.motion is not None
        text = self._say("motion", thing=thing.words)
        return Question("motion", text, MOTIONS[fact.motion], self._proof(fact))

    def _counting(self) -> Question | None:
        """How many scenes showed a thing; every number that there is as often as the others.

        A thing that left and came back within a scene is not asked about: its number is arguable.
        """
        by_number: dict[int, list[Fact]] = {}
        for fact in self.facts:
            showings = [scene for scene in self.scenes if scene.fact == fact]
            if len(showings) <= MOST and all(s.away[0] == s.away[1] for s in showings):
                by_number.setdefault(len(showings), []).append(fact)
        numbers = [0, *sorted(by_number)]
        number = numbers[self.rng.integers(len(numbers))]
        if number == 0:
            absent = self._absent_thing()
            if absent is None:
                return None
            return Question("counting", self._say("counting", thing=absent.words), "0", ())
        fact = by_number[number][self.rng.integers(len(by_number[number]))]
        assert fact.thing is not None
        text = self._say("counting", thing=fact.thing.words)
        return Question("counting", text, str(number), self._proof(fact))

    def _none(self) -> Question | None:
        kind = ("place", "number", "order", "motion", "colour", "shape")[self.rng.integers(6)]
        if kind in ("place", "number", "order", "motion"):
            absent = self._absent_thing()
            if absent is None:
                return None
            return Question("none", self._say(kind, thing=absent.words), NOTHING, ())
        _, thing = self._pick()
        place = Place(int(self.rng.integers(len(GROUNDS))), int(self.rng.integers(len(TEXTURES))))
        if kind == "colour":
            if _colours(self.facts, thing.shape, place):
                return None
            text = self._say(kind, shape=SHAPES[thing.shape], place=place.words)
        else:
            if _shapes(self.facts, thing.colour, place):
                return None
            text = self._say(kind, colour=list(COLOURS)[thing.colour], place=place.words)
        return Question("none", text, NOTHING, ())

    def _off_world(self) -> Question | None:
        """Text from elsewhere: the listed ones for testing, shuffled words of them for training."""
        if self.split == "test":
            text = OFF_WORLD_TEXTS[self.rng.integers(len(OFF_WORLD_TEXTS))]
        else:
            words = " ".join(OFF_WORLD_TEXTS[::2]).split()
            chosen = [words[self.rng.integers(len(words))] for _ in range(self.rng.integers(1, 5))]
            letters = "".join(chr(self.rng.integers(97, 123)) for _ in range(self.rng.integers(8)))
            chosen.insert(int(self.rng.integers(len(chosen) + 1)), letters or "?")
            text = " ".join(chosen)
        return Question("off-world", text, OFF_WORLD, ())

    def _absent_thing(self) -> Thing | None:
        """An object not seen whose colour and shape were, where there is one: the hard case."""
        seen = {fact.thing for fact in self.facts if fact.thing is not None}
        absent = [
            Thing(c, s)
            for c in range(len(COLOURS))
            for s in range(len(SHAPES))
            if Thing(c, s) not in seen
        ]
        hard = [
            t
            for t in absent
            if any(t.colour == other.colour for other in seen)
            and any(t.shape == other.shape for other in seen)
        ]
        choice = hard if hard and self.rng.random() < 0.7 else absent
        return choice[self.rng.integers(len(choice))] if choice else None


def _colours(facts: Sequence[Fact], shape: int, place: Place) -> set[int]:
    return {
        f.thing.colour
        for f in facts
        if f.thing is not None and f.thing.shape == shape and f.place == place
    }


def _shapes(facts: Sequence[Fact], colour: int, place: Place) -> set[int]:
    return {
        f.thing.shape
        for f in facts
        if f.thing is not None and f.thing.colour == colour and f.place == place
    }


def description(fact: Fact) -> str:
    """What the guidance prompt is answered with in training: all that a scene shows."""
    if fact.thing is None or fact.number is None:
        return f"nothing on {fact.place.words}"
    return f"{fact.thing.words} on {fact.place.words}, {NUMBERS[fact.number]}"


def followers_of(scenes: Sequence[Scene], fact: Fact) -> set[Fact] | None:
    """Facts shown directly after each showing of one; None if an idle stretch or the end follows.

    The last scene has no follower yet, and what follows an idle stretch did not come right after.
    """
    found: set[Fact] = set()
    for scene, after in zip(scenes, [*scenes[1:], None], strict=True):
        if scene.fact != fact:
            continue
        if after is None or after.fact.thing is None:
            return None
        found.add(after.fact)
    return found
