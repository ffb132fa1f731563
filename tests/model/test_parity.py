"""Everything kept and fetched gives the stock model's logits and its greedy tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_tiny_checkpoint
from torch import Tensor
from transformers import GenerationConfig, LlavaOnevisionForConditionalGeneration

from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.context_cache import Context
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.prompts import Prompt
from streamkv_cli.model.video_llm import Encoded, VideoLLM, tokens_of

SHAPES = {
    "gqa 3 to 1": {"heads": 6, "kv_heads": 2, "hidden": 96},
    "no gqa": {"heads": 4, "kv_heads": 4, "hidden": 64},
    "one KV head, odd heads, odd frame side": {
        "heads": 5,
        "kv_heads": 1,
        "hidden": 80,
        "image_size": 70,
        "layers": 2,
    },
}
FRAMES = 11


def frames_of(count: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(count)]


class Pair:
    """The same checkpoint behind our interface and as transformers runs it."""

    def __init__(self, folder: Path) -> None:
        self.ours = load_model(find_checkpoint(str(folder)), choose_placement("cpu", "float32"))
        self.stock = LlavaOnevisionForConditionalGeneration.from_pretrained(folder).eval()
        self.frames = frames_of(FRAMES)
        self.pixels = self.ours.preprocess(self.frames)
        self.prompt = self.ours.prompt("Remember all.", "What colour is the second thing?")
        self.prefix = self.ours.encode_prefix(self.prompt.before)

    @property
    def stock_ids(self) -> Tensor:
        video = [self.stock.config.video_token_id] * (FRAMES * self.ours.shape.tokens + 1)
        return torch.tensor([[*self.prompt.before, *video, *self.prompt.after]])

    def encode(self, cuts: list[int], guidance: bool) -> list[list[Tensor]]:
        """Blocks per layer after encoding the frames in segments that end at `cuts`."""
        features = self.ours.features(self.pixels).tokens
        held: list[list[Tensor]] = [[] for _ in range(self.ours.shape.layers)]
        for start, stop in zip([0, *cuts], [*cuts, FRAMES], strict=True):
            encoded: Encoded = self.ours.encode(
                features[start:stop],
                lambda layer: self.context(layer, held),
                self.position(start),
                self.ours.guidance("What matters here?") if guidance else (),
            )
            for layer, blocks in enumerate(encoded.blocks):
                held[layer].append(blocks)
        return held

    def context(self, layer: int, held: list[list[Tensor]]) -> Context:
        keys, values = self.prefix[layer]
        if not held[layer]:
            return keys, values
        block_keys, block_values = tokens_of(torch.cat(held[layer]))
        return torch.cat([keys, block_keys], dim=2), torch.cat([values, block_values], dim=2)

    def position(self, frames: int) -> int:
        return len(self.prompt.before) + frames * self.ours.shape.tokens


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("parity")
    return Pair(write_tiny_checkpoint(folder, seed=3, **SHAPES[request.param]))


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "with guidance prompt"])
@pytest.mark.parametrize("cuts", [[], [4], [1, 4, 10]], ids=str)
def test_logits_are_the_stock_models(pair: Pair, cuts: list[int], guidance: bool) -> None:
    held = pair.encode(cuts, guidance)
    with torch.inference_mode():
        stock = pair.stock(input_ids=pair.stock_ids, pixel_values_videos=pair.pixels[None]).logits
    ours = pair.ours.logits(
        pair.prompt, lambda layer, _: pair.context(layer, held), pair.position(FRAMES)
    )
    assert float(stock.abs().max()) > 1  # logits that are all alike would prove nothing
    torch.testing.assert_close(ours, stock[0, -len(ours) :], atol=1e-4, rtol=0)


@pytest.mark.parametrize("further", [0, 500])
def test_greedy_tokens_are_those_of_stock_generate(pair: Pair, further: int) -> None:
    held = pair.encode([4], guidance=True)
    config = GenerationConfig(max_new_tokens=40, do_sample=False, eos_token_id=-1, pad_token_id=0)
    ours = pair.ours.generate(
        pair.prompt,
        lambda layer, _: pair.context(layer, held),
        pair.position(FRAMES) + further,
        config,
    )
    stock = pair.stock.generate(
        input_ids=pair.stock_ids,
        pixel_values_videos=pair.pixels[None],
        generation_config=config,
    )
    assert len(ours) == 40
    assert ours == stock[0, pair.stock_ids.shape[1] :].tolist()


def test_layers_may_hold_contexts_of_different_lengths(pair: Pair) -> None:
    """Against a stock forward of one layer's context at a time there is no peer; against our own
    with the blocks masked out by hand there is: dropping blocks changes only what is dropped."""
    held = pair.encode([4], guidance=False)
    full = [torch.cat(blocks) for blocks in held]

    def logits(counts: list[int]) -> Tensor:
        def choose(layer: int, _: Tensor) -> Context:
            return pair.context(layer, [[b[-counts[i] :]] for i, b in enumerate(full)])

        return pair.ours.logits(pair.prompt, choose, pair.position(FRAMES))

    layers = pair.ours.shape.layers
    everything, last_dropped = logits([FRAMES] * layers), logits([FRAMES] * (layers - 1) + [2])
    assert torch.isfinite(last_dropped).all()
    assert (everything - last_dropped).abs().max() > 1e-3


def test_queries_seen_are_pre_rope_means_over_the_question(pair: Pair) -> None:
    seen: dict[int, Tensor] = {}
    model: VideoLLM = pair.ours

    def choose(layer: int, query: Tensor) -> Context:
        seen[layer] = query
        return pair.prefix[layer]

    model.probe(pair.prompt, choose, len(pair.prompt.before))
    rows = pair.prompt.question
    prompt: Prompt = pair.prompt
    text = pair.stock.model.language_model
    ids = torch.tensor([prompt.after])
    with torch.inference_mode():
        newline = pair.stock.model.image_newline.view(1, 1, -1)
        hidden = torch.cat([newline, text.embed_tokens(ids)], dim=1)
        normed = text.layers[0].input_layernorm(hidden)
        expected = text.layers[0].self_attn.q_proj(normed)[0, rows.start + 1 : rows.stop + 1]
    assert set(seen) == set(range(model.shape.layers))
    assert seen[0].shape == (model.shape.heads, model.shape.head_dim)
    torch.testing.assert_close(seen[0].flatten(), expected.mean(dim=0), atol=1e-5, rtol=1e-5)


def test_stored_keys_are_pre_rope(pair: Pair) -> None:
    features = pair.ours.features(pair.pixels[:2]).tokens
    first = pair.ours.encode(features, lambda layer: pair.prefix[layer], len(pair.prompt.before))
    far = pair.ours.encode(
        features, lambda layer: pair.prefix[layer], len(pair.prompt.before) + 1000
    )
    for a, b in zip(first.blocks, far.blocks, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
