"""The shipped model answers through the program, however its world was rendered."""

from pathlib import Path

import pytest

import streamkv_cli.model
from examples.demo_model.through_program import Trial, answered
from examples.demo_model.world import World

DEMO = Path(streamkv_cli.model.__file__).parent / "demo"
TRIALS = {
    "small": Trial(rate=5, height=120, width=160),
    "square, 30 a second": Trial(rate=30, height=240, width=240),
    "wide, H.265": Trial(rate=12, height=240, width=426, codec="libx265"),
    "one frame a second": Trial(fps=1.0),
    "bfloat16": Trial(dtype="bfloat16"),
    "another guidance prompt": Trial(guidance_prompt="What can be seen here?"),
}


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_renderings_and_settings_are_answered_alike(trial: Trial) -> None:
    found = answered(DEMO, (World(seed, "test") for seed in (21, 22)), trial)
    right = sum(text == question.answer for question, text in found)
    assert len(found) > 40
    assert right / len(found) >= 0.85
