"""The checkpoint in the package is small, loads like any other, and answers rightly."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

import streamkv_cli.model
from examples.demo_model.evaluate import evaluate
from examples.demo_model.vocabulary import tokenizer
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model

FOLDER = Path(streamkv_cli.model.__file__).parent / "demo"


@pytest.fixture(scope="module", autouse=True)
def _shipped() -> None:
    if not FOLDER.is_dir():
        pytest.skip("no checkpoint is shipped")


def test_it_is_small_and_loads() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 16 * 2**20
    model = load_model(find_checkpoint(str(FOLDER)), choose_placement("cpu", "float32"))
    assert sum(p.numel() for p in model.model.parameters()) <= 8_000_000
    assert model.lay_out(0, 0, 1.0).tokens == 4


def test_it_was_trained_with_this_tokenizer() -> None:
    shipped = AutoTokenizer.from_pretrained(FOLDER)
    assert shipped.get_vocab() == tokenizer().get_vocab()
    assert shipped.chat_template == tokenizer().chat_template


def test_it_answers_rightly_about_worlds_it_has_never_seen() -> None:
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(FOLDER, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(FOLDER)
    result = evaluate(model.eval(), words, worlds=6, seed=7000, each=4)
    inside = [value for kind, value in result.items() if kind != "off-world"]
    right, asked = map(sum, zip(*inside, strict=True))
    assert asked > 150
    # The model card says more of a larger sample; this is what no small sample falls below.
    assert right / asked >= 0.97
