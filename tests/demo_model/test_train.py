"""The whole recipe runs from nothing, in miniature, and what it makes loads and can be asked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from examples.demo_model.clips import ideal_clips
from examples.demo_model.compose import Composer
from examples.demo_model.curriculum import CURRICULUM
from examples.demo_model.curve import rows
from examples.demo_model.evaluate import KINDS, evaluate
from examples.demo_model.language import LanguageTraining
from examples.demo_model.packing import Batch
from examples.demo_model.tower import Naming
from examples.demo_model.train import FULL, STAGES, Recipe, Training

SMALL = tuple(
    replace(phase, frames=(6, 12), videos=2, questions=6, until=0.0) for phase in CURRICULUM
)
MINIATURE = Recipe(tower=2, words=2, clips=40, videos=250, whole=225, curriculum=SMALL)


@pytest.mark.slow
def test_every_stage_runs_from_nothing_and_goes_through_all_phases(tmp_path: Path) -> None:
    for stage in STAGES:
        Training(tmp_path, 0, MINIATURE).run(stage)
    state = torch.load(tmp_path / "videos.pt", weights_only=True)
    assert (state["step"], state["phase"]) == (250, len(CURRICULUM) - 1)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(
        tmp_path / "demo", dtype=torch.float32
    )
    words = AutoTokenizer.from_pretrained(tmp_path / "demo")
    result = evaluate(model.eval(), words, worlds=2, frames=40, each=2)
    assert set(result) == set(KINDS)
    assert all(asked for _, asked in result.values())
    processor = json.loads((tmp_path / "demo" / "video_preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 48, "width": 48}


class _Noting(Composer):
    """Notes which share of batches is to be read segment by segment."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.shares: list[float] = []

    def batch(self, *args: Any, ingest_share: float, **more: Any) -> Batch:
        self.shares.append(ingest_share)
        return super().batch(*args, ingest_share=ingest_share, **more)


def test_no_video_is_read_by_segments_before_its_step(tmp_path: Path) -> None:
    training = Training(tmp_path, 0, MINIATURE)
    embeddings = training.model.get_input_embeddings().weight.detach()
    clips = ideal_clips(embeddings, Naming(training.words), 60, 0)
    composer = _Noting(clips, training.tokens, "train")
    phase = replace(SMALL[-1], frames=(10, 12), ingest_share=1.0)
    path = tmp_path / "videos.pt"
    learning = {"steps": 5, "curriculum": (phase,), "whole": 3}
    LanguageTraining(training.model, composer, path, **learning).run()
    assert composer.shares == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_every_phase_has_its_turn_before_the_steps_end() -> None:
    before_the_last = sum(phase.most for phase in FULL.curriculum[:-1])
    assert before_the_last < FULL.videos * 0.6
    assert before_the_last < FULL.whole < FULL.videos * 0.8  # where the learning rate falls


def test_the_cards_curve_is_read_off_the_trainings_own_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = replace(MINIATURE, videos=50, curriculum=SMALL[:1])
    with caplog.at_level("INFO"):
        training = Training(tmp_path, 0, recipe)
        embeddings = training.model.get_input_embeddings().weight.detach()
        clips = ideal_clips(embeddings, Naming(training.words), 60, 0)
        training.language_training(clips, tmp_path / "videos.pt", 50).run()
    (row,) = rows(caplog.messages, every=50)
    assert row[:2] == ["50", "0"]
    assert all(value == "-" or 0 <= float(value) <= 1 for value in row[2:-1])
