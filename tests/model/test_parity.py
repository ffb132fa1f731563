"""Everything kept and fetched gives the stock model's logits and its greedy tokens."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from examples.tiny_checkpoint import write_tiny_checkpoint
from streamkv_cli.model.context import Context
from streamkv_cli.model.layout import FilmLayout
from streamkv_cli.model.prompts import Prompt
from streamkv_cli.model.video_llm import VideoLLM
from tests.model.masked import masked_logits
from tests.model.pair import Pair, frames_of


@dataclass(frozen=True)
class Case:
    """A checkpoint's shape, and the video it reads."""

    shape: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (60, 80)
    fps: float = 1.0


CASES = {
    "LLaVA-OneVision, 3 heads to 1": Case({"heads": 6, "kv_heads": 2, "hidden": 96}),
    "LLaVA-OneVision, no GQA": Case({"heads": 4, "kv_heads": 4, "hidden": 64}),
    "LLaVA-OneVision, 5 heads to 1, odd frame side": Case(
        {"heads": 5, "kv_heads": 1, "hidden": 80, "image_size": 70, "layers": 2}
    ),
    "Qwen2.5-VL, 3 heads to 1": Case(
        {"family": "qwen2_5_vl", "heads": 6, "kv_heads": 2, "hidden": 96}, (131, 197)
    ),
    "Qwen2.5-VL, 7 heads to 1, uneven seconds a block": Case(
        {"family": "qwen2_5_vl", "heads": 7, "kv_heads": 1, "hidden": 112, "layers": 2},
        (85, 57),
        fps=3.0,
    ),
    "Qwen3-VL, 3 heads to 1": Case(
        {"family": "qwen3_vl", "heads": 6, "kv_heads": 2, "hidden": 96}, (131, 197)
    ),
    "Qwen3-VL, 7 heads to 1, times of two and three digits": Case(
        {"family": "qwen3_vl", "heads": 7, "kv_heads": 1, "hidden": 112, "layers": 3},
        (97, 65),
        fps=0.05,
    ),
    "InternVL, 3 heads to 1": Case({"family": "internvl", "heads": 6, "kv_heads": 2, "hidden": 96}),
    "InternVL, 5 heads to 1": Case(
        {"family": "internvl", "heads": 5, "kv_heads": 1, "hidden": 80, "image_size": 84}
    ),
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    case = CASES[request.param]
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("parity"), seed=3, **case.shape)
    return Pair(folder, frames_of(11, case.size), case.fps)


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "with guidance prompt"])
@pytest.mark.parametrize("cuts", [[], [4], [1, 4, 5]], ids=str)
def test_logits_are_the_stock_models(pair: Pair, cuts: list[int], guidance: bool) -> None:
    held = pair.encode(cuts, guidance)
    with torch.inference_mode():
        stock = pair.stock(**pair.inputs()).logits
    ours = pair.logits(held)
    assert float(stock.abs().max()) > 1  # logits that are all alike would prove nothing
    torch.testing.assert_close(ours, stock[0, -len(ours) :], atol=1e-4, rtol=0)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_smaller_than_the_video_is_a_mask_of_the_stock_model(
    pair: Pair, window: int
) -> None:
    """A window of 2 cuts through the segment of three blocks before the last."""
    cuts = [1, 4, pair.blocks - 1]
    held = pair.encode(cuts, guidance=True, window=window)
    first = pair.blocks - window
    if (pair.fps, pair.layout.frames) == (3.0, 2) and isinstance(pair.layout, FilmLayout):
        pytest.skip("uneven times, counted anew in each window, are no one numbering of a video")
    stock = masked_logits(pair, cuts, window)
    ours = pair.logits(held, first)
    assert not torch.allclose(ours, pair.logits(pair.encode(cuts)), atol=1e-2)
    torch.testing.assert_close(ours, stock, atol=1e-4, rtol=0)


@pytest.mark.parametrize("further", [0, 500])
def test_greedy_tokens_are_those_of_stock_generate(pair: Pair, further: int) -> None:
    held = pair.encode([4], guidance=True)
    config = GenerationConfig(max_new_tokens=40, do_sample=False, eos_token_id=-1, pad_token_id=0)
    place = pair.place(held)
    ours = pair.ours.generate(
        pair.prompt,
        lambda layer, _: pair.context(layer, held),
        replace(place, text=place.text + further),
        config,
    )
    inputs = pair.inputs()
    stock = pair.stock.generate(**inputs, generation_config=config)
    assert len(ours) == 40
    assert len(set(ours)) > 1
    assert ours == stock[0, inputs["input_ids"].shape[1] :].tolist()


def test_layers_may_hold_contexts_of_different_lengths(pair: Pair) -> None:
    """Against a stock forward of one layer's context at a time there is no peer; against our own
    with the blocks masked out by hand there is: dropping blocks changes only what is dropped."""
    held = pair.encode([4], guidance=False)

    def logits(firsts: list[int]) -> Tensor:
        def choose(layer: int, _: Tensor) -> Context:
            return pair.context(layer, held, firsts[layer])

        return pair.ours.logits(pair.prompt, choose, pair.place(held))

    everything = logits([0] * pair.layers)
    last_dropped = logits([0] * (pair.layers - 1) + [pair.blocks - 2])
    assert torch.isfinite(last_dropped).all()
    assert (everything - last_dropped).abs().max() > 1e-3


def test_queries_seen_are_pre_rope_and_the_questions_own(pair: Pair) -> None:
    seen: dict[int, Tensor] = {}
    model: VideoLLM = pair.ours

    def choose(layer: int, queries: Tensor) -> Context:
        seen[layer] = queries
        return pair.prefix[layer]

    model.probe(pair.prompt, choose, pair.prefix[0].place)
    rows = pair.prompt.question
    prompt: Prompt = pair.prompt
    text = pair.stock.model.language_model
    ids = torch.tensor([prompt.after])
    with torch.inference_mode():
        attention = text.layers[0].self_attn
        normed = text.layers[0].input_layernorm(text.embed_tokens(ids))
        expected = attention.q_proj(normed)[0].unflatten(-1, (-1, model.shape.head_dim))
        if hasattr(attention, "q_norm"):
            expected = attention.q_norm(expected)
    assert set(seen) == set(range(model.shape.layers))
    torch.testing.assert_close(seen[0], expected[rows], atol=1e-5, rtol=1e-5)


def test_stored_keys_are_pre_rope(pair: Pair) -> None:
    place = pair.prefix[0].place
    further = replace(place, axes=tuple(axis + 1000 for axis in place.axes))
    first, far = (
        pair.ours.encode(
            pair.features[:2],
            pair.layout,
            lambda layer: pair.prefix[layer],
            where,
            headings=pair.headings()[:2],
        )
        for where in (place, further)
    )
    for a, b in zip(first.blocks, far.blocks, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
