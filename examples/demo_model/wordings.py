"""How questions are worded, and which wordings only the test split hears."""

import numpy as np

from .world import MOTIONS, Split

NOTHING = "there is none"
OFF_WORLD = "I only know the demo world."

OPENERS = ("", "In the video, ", "Tell me: ", "Please say: ")
PLAIN = 0.7
"""Share of training questions without an opener."""
AMERICAN = 0.25
"""Share of questions that spell colour "color"."""
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
