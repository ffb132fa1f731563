"""Questions about the world, their answers, and the seconds that prove them.

An answer is only ever asked for where the scenes seen so far admit exactly one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

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

NOTHING = "there is none"
OFF_WORLD = "I only know the demo world."

OPENERS = ("", "In the video, ", "Tell me: ", "Please say: ")
PLAIN = 0.7
"""Share of training questions without an opener."""
AMERICAN = 0.25
"""Share of questions that spell colour "color"."""
MOST = 2
"""More showings of a thing than this are not asked for."""
BODIES: dict[str, tuple[str, ...]] = {
    "colour": (
        "what colour was the {shape} on the {place} ground?",
        "which colour is the {shape} on {place}?",
        "on the {place} ground, what was the colour of the {shape}?",
    ),
    "shape": (
        "what shape was the {colour} thing on the {place} ground?",
        "which shape is the {colour} object on {place}?",
        "on the {place} ground, what was the shape of the {colour} thing?",
    ),
    "place": (
        "where was the {thing}?",
        "which ground was the {thing} on?",
        "what is the ground behind the {thing}?",
    ),
    "number": (
        "what number was shown with the {thing}?",
        "which number is on the screen with the {thing}?",
        "when the {thing} was there, what number was on the screen?",
    ),
    "exists": (
        "was there a {thing}?",
        "is there a {thing} in the video?",
        "did you see a {thing}?",
    ),
    "order": (
        "what came right after the {thing}?",
        "which object was next after the {thing}?",
        "what was shown after the {thing}?",
    ),
    "motion": (
        "which way did the {thing} move?",
        "did the {thing} move, and which way?",
        "when the {thing} was there, which way did it move?",
    ),
    "counting": (
        "how many times was the {thing} shown?",
        "how many times was there a {thing}?",
        "how many times did you see the {thing}?",
    ),
}
"""Wordings of each kind. Every body and every opener is trained on, but not every pair of them."""

OFF_WORLD_TEXTS = (
    "Who is the president?",
    "Who are you?",
    "What is the weather today?",
    "How do I bake bread?",
    "Write a poem about the sea.",
    "Which team won the match?",
    "What is the capital of France?",
    "Is the man on the left happy?",
    "How old is the woman?",
    "What does the dog eat?",
    "Describe the kitchen.",
    "Why is the sky blue?",
    "What language do they speak?",
    "Sing me a song.",
    "What is two plus two?",
    "Is there a car on the road?",
    "What is the name of the city?",
    "Translate this into German.",
    "How much does it cost?",
    "What was the goal of the game?",
    "Who wrote the book?",
    "What time does the train leave?",
    "Hello!",
    "Thank you.",
)


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


def is_held_out_wording(opener: int, body: int) -> bool:
    """Whether a pair of opener and body is asked in the test split only."""
    return (opener + body) % 4 == 3


def wording(rng: np.random.Generator, kind: str, split: Split, **names: str) -> str:
    """A question of a kind in one of its wordings; the test split asks in held-out ones only."""
    pairs = [
        (o, b)
        for o in range(len(OPENERS))
        for b in range(len(BODIES[kind]))
        if is_held_out_wording(o, b) == (split == "test")
    ]
    plain = [pair for pair in pairs if pair[0] == 0]
    if plain and rng.random() < PLAIN:
        pairs = plain
    opener, body = pairs[rng.integers(len(pairs))]
    text = OPENERS[opener] + BODIES[kind][body].format(**names)
    if rng.random() < AMERICAN:
        text = text.replace("colour", "color")
    return text if rng.random() < 0.3 else text[0].upper() + text[1:]


def all_texts() -> list[str]:
    """Every text that questions and answers are made of; what the vocabulary has to cover."""
    # Words are numbered in this order: keep it, so that trained weights keep their meaning.
    late = ("motion", "counting")
    bodies = [body for kind in BODIES if kind not in late for body in BODIES[kind]]
    answers = [NOTHING, OFF_WORLD, "a", "the", "thing", "yes", "no"]
    answers += [" ".join(MOTIONS), "color way did it move how many different things objects times"]
    texts = [*OPENERS, *bodies, *answers, *(body for kind in late for body in BODIES[kind])]
    return [text.replace("{", " ").replace("}", " ") for text in texts]


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
