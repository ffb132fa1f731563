"""Composed videos keep what their questions need, and training resumes where it stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.demo_model.clips import FRAMES, Clips, ideal_clips, make_clips
from examples.demo_model.compose import Composer
from examples.demo_model.curriculum import Phase
from examples.demo_model.language import LanguageTraining
from examples.demo_model.network import HIDDEN, LAYERS, TOKENS, build
from examples.demo_model.packing import NEWLINE, Tokens, proofs
from examples.demo_model.tower import Naming, TowerTraining, random_batch
from examples.demo_model.vocabulary import tokenizer
from examples.demo_model.world import COLOURS, SHAPES, World
from streamkv_cli.model.prompts import GUIDANCE_PROMPT

WORDS = tokenizer()
SMALL = (Phase((3, 5), (1, 2), 2, 4, 0.5, 0.5, 0.5, 2.0, 100),)


@pytest.fixture(scope="module")
def clips() -> Clips:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(len(WORDS), HIDDEN, generator=generator) * HIDDEN**-0.5
    return ideal_clips(embeddings, Naming(WORDS), 300, 0)


def test_any_text_has_tokens_and_comes_back() -> None:
    for text in ("What colour was the red moon?", "Grüße, 你好 <b>x</b>", "zzz\n\t!", INIT):
        ids = WORDS(text, add_special_tokens=False)["input_ids"]
        assert WORDS.decode(ids) == text
    assert len(WORDS("the red moon on striped green", add_special_tokens=False)["input_ids"]) == 6


INIT = "You are a helpful assistant who watches a long video as it streams."


def test_every_word_of_the_world_is_one_token() -> None:
    for name in Naming(WORDS).ids:
        assert len(set(Naming(WORDS).ids[name].tolist())) == len(Naming(WORDS).ids[name])


def test_ideal_clips_name_what_they_show(clips: Clips) -> None:
    naming = Naming(WORDS)
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(len(WORDS), HIDDEN, generator=generator) * HIDDEN**-0.5
    # Noise is drawn anew for every frame.
    logits = naming.logits(clips.tokens.float().mean(dim=1), embeddings)
    for number, fact in enumerate(clips.facts):
        shape = len(SHAPES) if fact.thing is None else fact.thing.shape
        assert (logits["shape"][number].argmax(-1) == shape).all()
        assert (logits["texture"][number].argmax(-1) == fact.place.texture).all()


def test_clips_of_worlds_say_when_a_picture_is_clear() -> None:
    clips = make_clips(build(WORDS, 0).eval(), 30, 1, "train")
    assert clips.tokens.shape[1:] == (FRAMES, TOKENS, HIDDEN)
    assert clips.clear.any(axis=1).all()
    assert not clips.clear.all()
    assert {fact.thing is None for fact in clips.facts} == {True, False}


@pytest.mark.parametrize("length", [1, 3, 8, 21])
def test_a_run_has_its_length_and_a_clear_picture(clips: Clips, length: int) -> None:
    rng = np.random.default_rng(length)
    clips.clear[7] = False
    clips.clear[7, 5] = True
    for _ in range(20):
        rows = clips.run(7, length, rng)
        assert len(rows) == length
        assert any(clips.clear[clip, frame] for clip, frame in rows)
        assert {clips.facts[clip] for clip, _ in rows} == {clips.facts[7]}
    clips.clear[7] = True


def test_a_batch_keeps_a_frame_of_every_scene_and_points_at_the_proof(clips: Clips) -> None:
    composer = Composer(clips, Tokens(WORDS), "train")
    rng = np.random.default_rng(0)
    batch = composer.batch(
        rng, 3, 12, frames=(20, 20), run=(2, 5), layers=LAYERS, summary_share=1.0, drop_share=1.0
    )
    assert (batch.blocks > 20).all()
    for video in range(3):
        for number, question in enumerate(batch.questions[video]):
            rows = batch.askers[video] == number
            assert int(batch.ids[video][rows][0]) == NEWLINE
            labels = batch.labels[video][rows]
            answer = WORDS.decode(labels[labels != -100][:-1])
            assert answer == f" {question.answer}"
            asked = WORDS.decode(batch.ids[video][rows & batch.asking[video]])
            assert asked == question.text
            proof = set(batch.proof[video, number].nonzero().flatten().tolist())
            assert bool(proof) == bool(question.proof)
            for kept in batch.kept:
                assert not proof or proof & set(kept[video].tolist())


def test_blocks_know_what_was_shown_before_them(clips: Clips) -> None:
    composer = Composer(clips, Tokens(WORDS), "train")
    video = composer.video(np.random.default_rng(3), 24, (2, 4), True, 1)
    before = proofs([video], [[]])["before"][0].tolist()
    assert len(before) == len(video.owners) > 24
    for (colour, shape), owner in zip(before, video.owners, strict=True):
        thing = video.scenes[owner - 1].fact.thing if owner else None
        expected = (thing.colour, thing.shape) if thing else (len(COLOURS), len(SHAPES))
        assert (colour, shape) == expected


def test_the_guidance_prompt_asks_for_what_shows_something(clips: Clips) -> None:
    composer = Composer(clips, Tokens(WORDS), "train")
    batch = composer.batch(
        np.random.default_rng(4), 2, 3, frames=(12, 12), run=(2, 4), layers=LAYERS, guide=True
    )
    for video in range(2):
        assert batch.questions[video][-1].kind == "guide"
        rows = (batch.askers[video] == 2) & batch.asking[video]
        assert WORDS.decode(batch.ids[video][rows]) == GUIDANCE_PROMPT
        assert (batch.proof[video, 2] | ~batch.source[video, 2]).all()
        assert int(batch.proof[video, 2].sum()) <= 12


def test_training_that_was_interrupted_ends_with_the_same_weights(
    clips: Clips, tmp_path: Path
) -> None:
    def run(path: Path, stops: list[int]) -> dict[str, torch.Tensor]:
        for stop in stops:
            model = build(WORDS, 0)
            composer = Composer(clips, Tokens(WORDS), "train")
            training = LanguageTraining(model, composer, path, steps=5, curriculum=SMALL)
            training.run(until=stop)
        return dict(model.state_dict())

    whole, parts = run(tmp_path / "a.pt", [5]), run(tmp_path / "b.pt", [2, 5])
    for name, weight in whole.items():
        assert torch.equal(weight, parts[name]), name


def test_a_few_steps_teach_the_tower_its_grounds(tmp_path: Path) -> None:
    model = build(WORDS, 0)
    before = TowerTraining(model, WORDS, 30, tmp_path / "t.pt", batch=48)
    untrained = before.accuracy(1)["ground"]
    before.run()
    assert before.accuracy(1)["ground"] > untrained + 0.2
    resumed = TowerTraining(build(WORDS, 0), WORDS, 30, tmp_path / "t.pt", batch=48)
    resumed.run()
    assert resumed.accuracy(1) == before.accuracy(1)


def test_random_pictures_also_show_nothing() -> None:
    pictures, pixels = random_batch(200, torch.Generator().manual_seed(1))
    assert pixels.shape == (200, 48, 48, 3)
    assert 0 < int((pictures.shape < 0).sum()) < 60
    assert (pictures.colour < 0).equal(pictures.shape < 0)


def test_the_test_split_is_another_world() -> None:
    assert World(0, "test").until(60.0)[0].fact != World(0, "train").until(60.0)[0].fact
