"""The demo world is the same for a seed, keeps its rules, and its answers are true."""

import itertools
from collections import Counter

import numpy as np
import pytest

from examples.demo_model.clips import DARK
from examples.demo_model.evaluate import KINDS, seen
from examples.demo_model.packing import MOVED
from examples.demo_model.questions import MOST, Asker, Question
from examples.demo_model.wordings import BODIES, NOTHING, OPENERS, is_held_out_wording
from examples.demo_model.world import (
    CAST,
    COLOURS,
    MOTIONS,
    SCENE_SECONDS,
    SHAPES,
    Fact,
    Scene,
    World,
    is_held_out,
)

HOUR = 3600.0
DAY = 24 * HOUR


def test_a_seed_makes_the_same_world_however_it_is_read() -> None:
    whole = World(5).until(HOUR)
    in_pieces = World(5)
    in_pieces.until(100.0)
    assert in_pieces.until(HOUR) == whole
    assert World(6).until(HOUR) != whole
    assert World(5, "test").until(HOUR) != whole


def test_scenes_follow_each_other_without_gaps_for_a_day() -> None:
    scenes = World(7).until(DAY)
    assert scenes[0].start == 0
    assert scenes[-1].end >= DAY
    for scene, after in itertools.pairwise(scenes):
        assert scene.end == after.start
        assert SCENE_SECONDS[0] - 1e-3 <= scene.end - scene.start <= SCENE_SECONDS[1] + 1e-3
        assert scene.fact != after.fact


def test_an_object_is_in_one_place_with_one_number_for_ever() -> None:
    facts = {scene.fact for scene in World(8).until(10 * HOUR) if scene.fact.thing is not None}
    assert len(facts) == CAST
    assert len({fact.thing for fact in facts}) == CAST


def test_scenes_come_back_and_idle_stretches_occur() -> None:
    scenes = World(9).until(HOUR)
    idle = [scene for scene in scenes if scene.fact.thing is None]
    assert 0 < len(idle) < len(scenes) / 3
    assert all(scene.fact.number is None for scene in idle)
    assert len({scene.fact for scene in scenes}) < len(scenes) / 3


def test_held_out_pairings_are_only_in_the_test_split() -> None:
    def share(split: str) -> float:
        facts = [
            scene.fact
            for seed in range(40)
            for scene in World(seed, split).until(300.0)  # type: ignore[arg-type]
            if scene.fact.thing is not None
        ]
        return float(np.mean([is_held_out(f.thing, f.place) for f in facts if f.thing]))

    assert share("train") == 0.0
    assert 0.2 < share("test") < 0.7


def test_held_out_wordings_leave_every_opener_and_body_to_training() -> None:
    for kind, bodies in BODIES.items():
        trained = {
            (o, b)
            for o in range(len(OPENERS))
            for b in range(len(bodies))
            if not is_held_out_wording(o, b)
        }
        assert {o for o, _ in trained} == set(range(len(OPENERS))), kind
        assert {b for _, b in trained} == set(range(len(bodies))), kind
        assert len(trained) < len(OPENERS) * len(bodies), kind


def _named(question: Question, scenes: list[Scene]) -> list[Fact]:
    """Facts that fit every word of a question, found by its words alone."""
    words = question.text.lower().rstrip("?").replace(",", "").split()
    colours = [c for c in COLOURS if c in words]
    shapes = [s for s in SHAPES if s in words]
    grounds = [i for i, w in enumerate(words) if w in ("plain", "striped", "dotted")]
    place = " ".join(words[grounds[0] : grounds[0] + 2]) if grounds else None
    return [
        fact
        for fact in dict.fromkeys(scene.fact for scene in scenes)
        if fact.thing is not None
        and all(fact.thing.words.split()[0] == c for c in colours)
        and all(fact.thing.words.split()[1] == s for s in shapes)
        and (place is None or fact.place.words == place)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_answers_are_true_by_the_timeline(seed: int) -> None:
    scenes = World(seed, "test").until(200.0)
    asker = Asker(scenes, np.random.default_rng(seed), "test")
    checked = set()
    for kind in KINDS[:-1]:
        for _ in range(30):
            question = asker.ask(kind)  # type: ignore[arg-type]
            if question is None:
                continue
            facts = _named(question, scenes)
            checked.add(kind)
            if question.answer in (NOTHING, "no") or (kind, question.answer) == ("counting", "0"):
                assert facts == []
                assert question.proof == ()
                continue
            assert facts
            answers = {_truth(question, fact, scenes) for fact in facts}
            assert answers == {question.answer}, question
            for start, end in question.proof:
                shown = [s.fact for s in scenes if s.start == start and s.end == end]
                assert len(shown) == 1
                assert shown[0] in facts or kind == "order"
    assert checked == set(KINDS) - {"off-world"}


def _truth(question: Question, fact: Fact, scenes: list[Scene]) -> str:
    assert fact.thing is not None
    assert fact.number is not None
    if question.kind == "order":
        after = {b.fact for a, b in itertools.pairwise(scenes) if a.fact == fact}
        (only,) = after
        assert only.thing is not None
        return only.thing.words
    assert fact.motion is not None
    colour, shape = fact.thing.words.split()
    return {
        "colour": colour,
        "shape": shape,
        "place": fact.place.words,
        "number": str(fact.number),
        "exists": "yes",
        "motion": MOTIONS[fact.motion],
        "counting": str(sum(scene.fact == fact for scene in scenes)),
    }[question.kind]


def test_existence_is_asked_for_and_against_alike() -> None:
    asker = Asker(World(3).until(150.0), np.random.default_rng(0), "train")
    answers = [q.answer for q in (asker.ask("exists") for _ in range(400)) if q is not None]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_every_number_of_showings_is_asked_for_alike() -> None:
    found = set()
    for seed in range(6):
        scenes = World(seed).until(500.0)
        asker = Asker(scenes, np.random.default_rng(0), "train")
        asked = [q for q in (asker.ask("counting") for _ in range(300)) if q is not None]
        answers = Counter(question.answer for question in asked)
        assert min(answers.values()) > 0.6 * 300 / len(answers)
        found |= set(answers)
        left = {s.fact.thing.words for s in scenes if s.fact.thing and s.away[0] < s.away[1]}
        assert left
        assert not any(words in question.text for question in asked for words in left)
    assert found == {str(number) for number in range(MOST + 1)}


def test_things_that_are_shown_too_often_are_not_counted() -> None:
    asker = Asker(World(4).until(2 * HOUR), np.random.default_rng(0), "train")
    assert {q.answer for q in (asker.ask("counting") for _ in range(50)) if q} == {"0"}


def test_an_object_goes_the_same_way_in_every_showing() -> None:
    world = World(6)
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
    moved = set()
    for scene in world.until(HOUR):
        if scene.fact.motion is not None:
            (x, y), (later_x, later_y) = scene.position(scene.start), scene.position(scene.end)
            way = MOTIONS[scene.fact.motion]
            assert ways[way] == (round(later_x - x), round(later_y - y))
            moved.add(way)
    assert moved == set(MOTIONS)


@pytest.mark.parametrize("fps", [0.5, 1.0])
def test_sampled_pictures_show_which_way_every_object_goes(fps: float) -> None:
    for seed in range(10):
        _, pictures = seen(World(seed, "test"), 64, fps)
        way: dict[Scene, list[float]] = {}
        for scene, second in pictures:
            if scene.shows_thing(second) and scene.brightness(second) > DARK:
                way.setdefault(scene, []).append(scene.along(second))
        assert all(max(along) - min(along) >= MOVED for along in way.values())


def test_colour_is_spelt_both_ways() -> None:
    asker = Asker(World(3).until(150.0), np.random.default_rng(0), "test")
    texts = [q.text for q in (asker.ask("colour") for _ in range(100)) if q is not None]
    assert 0 < sum("color " in text for text in texts) < len(texts) / 2
    assert all(("color " in text) != ("colour " in text) for text in texts)
