"""Packed questions get the logits that the stock model, and the program, would give them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.demo_model.clips import ideal_clips
from examples.demo_model.compose import Composer
from examples.demo_model.export import export
from examples.demo_model.network import LAYERS, build
from examples.demo_model.packed import packed_forward
from examples.demo_model.packing import Batch, Tokens
from examples.demo_model.tower import Naming
from examples.demo_model.vocabulary import tokenizer
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.prompts import INIT_PROMPT
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.window import Window

WORDS = tokenizer()
TOKENS = Tokens(WORDS)


@pytest.fixture(scope="module")
def model():
    return build(WORDS, 3).eval()


@pytest.fixture(scope="module")
def composer(model) -> Composer:
    embeddings = model.get_input_embeddings().weight.detach()
    return Composer(ideal_clips(embeddings, Naming(WORDS), 200, 1), TOKENS, "train")


def _batch(
    composer: Composer, drop: float, summaries: float, ingest: float = 0.0, frames: int = 9
) -> Batch:
    return composer.batch(
        np.random.default_rng(5),
        2,
        5,
        frames=(frames, frames),
        run=(2, 4),
        layers=LAYERS,
        summary_share=summaries,
        drop_share=drop,
        ingest_share=ingest,
    )


@torch.inference_mode()
def test_packed_logits_equal_the_stock_forward(model, composer: Composer) -> None:
    batch = _batch(composer, drop=0.0, summaries=1.0)
    prefix = torch.tensor(TOKENS.prefix)
    answers = packed_forward(model, prefix, batch)
    embed = model.get_input_embeddings()
    expected, wanted = [], []
    for number, questions in enumerate(batch.questions):
        for question in questions:
            text = TOKENS.asked(question.text).after
            answer = TOKENS.answer(question.answer)
            ids = torch.tensor([*text, *answer[:-1]])
            parts = [
                embed(prefix),
                batch.video[number, : batch.blocks[number]].flatten(0, 1),
                model.model.image_newline.unsqueeze(0),
                embed(ids),
            ]
            stock = model(inputs_embeds=torch.cat(parts).unsqueeze(0)).logits[0]
            expected.append(stock[-len(answer) :])
            wanted += answer
    assert answers.labels.tolist() == wanted
    assert torch.allclose(answers.logits, torch.cat(expected), atol=2e-4)


@torch.inference_mode()
def test_dropped_blocks_are_served_as_the_program_serves_them(
    model, composer: Composer, tmp_path: Path
) -> None:
    batch = _batch(composer, drop=1.0, summaries=0.5)
    assert len({tuple(kept[0].tolist()) for kept in batch.kept}) > 1
    prefix = torch.tensor(TOKENS.prefix)
    logits = packed_forward(model, prefix, batch).logits
    loaded = _loaded(model, tmp_path)
    row = 0
    context = loaded.encode_prefix(TOKENS.prefix)
    layout = loaded.lay_out(0, 0, 1.0)
    for number, questions in enumerate(batch.questions):
        features = batch.video[number, : batch.blocks[number]]
        encoded = loaded.encode(features, layout, context.__getitem__, context[0].place)
        kept = [kept[number][kept[number] >= 0].tolist() for kept in batch.kept]

        def choose(layer: int, _: torch.Tensor, encoded=encoded, kept=kept):
            return context[layer].extended(layout, encoded.blocks[layer][kept[layer]])

        for question in questions:
            prompt = loaded.prompt(INIT_PROMPT, question.text)
            # One position for all layers, behind the longest context: RoPE is relative.
            place = layout.after(context[0].place, max(map(len, kept)))
            first = loaded.logits(prompt, choose, place)[-1]
            assert torch.allclose(first, logits[row], atol=2e-4)
            row += len(TOKENS.answer(question.answer))


@pytest.mark.parametrize("window", [76, 3])
@torch.inference_mode()
def test_segments_are_read_as_the_program_reads_them(
    model, composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr("examples.demo_model.ingested.WINDOW", window)
    batch = _batch(composer, drop=0.0, summaries=0.0, ingest=1.0, frames=40)
    assert batch.ingested is not None
    assert len({tuple(kept[0].tolist()) for kept in batch.kept}) > 1
    logits = packed_forward(model, torch.tensor(TOKENS.prefix), batch).logits
    loaded = _loaded(model, tmp_path)
    layout = loaded.lay_out(0, 0, 1.0)
    row = 0
    for number, questions in enumerate(batch.questions):
        context = loaded.encode_prefix(TOKENS.prefix)
        seen = Window(context, 15_000, layout, window)
        kept = [layer[number][layer[number] >= 0].tolist() for layer in batch.kept]
        stored: list[list[torch.Tensor]] = [[] for _ in kept]
        segments = [s[s >= 0].tolist() for s in batch.ingested.segments[number]]
        segments = [segment for segment in segments if segment]
        assert len(segments) > 3
        for segment in segments:
            features = batch.video[number, segment]
            encoded = loaded.encode(features, layout, seen.context, seen.place)
            for layer, blocks in enumerate(encoded.blocks):
                chosen = [i for i, block in enumerate(segment) if block in kept[layer]]
                seen.add(layer, blocks[chosen], [0] * len(chosen))
                stored[layer] += blocks[chosen]

        def choose(layer: int, _: torch.Tensor, context=context, stored=stored):
            return context[layer].extended(layout, torch.stack(stored[layer]))

        for question in questions:
            prompt = loaded.prompt(INIT_PROMPT, question.text)
            place = layout.after(context[0].place, max(map(len, kept)))
            first = loaded.logits(prompt, choose, place)[-1]
            assert torch.allclose(first, logits[row], atol=2e-4)
            row += len(TOKENS.answer(question.answer))


def _loaded(model, folder: Path) -> VideoLLM:
    export(build(WORDS, 3), WORDS, folder / "demo")
    checkpoint = find_checkpoint(str(folder / "demo"))
    loaded = load_model(checkpoint, choose_placement("cpu", "float32"))
    loaded.model.load_state_dict(model.state_dict())  # not rounded to bfloat16
    return loaded
