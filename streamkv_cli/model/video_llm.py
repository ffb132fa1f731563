"""The one interface the pipeline knows: a Video-LLM that encodes segments and answers questions.

What a family does its own way (how frames become tokens, how positions work) is in its file; what
all of them share is here, on the extension points transformers documents: a registered attention
function, a cache, and forward hooks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from streamkv_cli.model.context_cache import Context, ContextCache
from streamkv_cli.model.device import Placement
from streamkv_cli.model.prompts import Prompt, guidance_ids, render
from streamkv_cli.model.taps import Taps

ChooseContext = Callable[[int, Tensor], Context]
"""(layer, mean question query [h, d]) -> that layer's context."""


@dataclass(frozen=True)
class Shape:
    """Numbers a stored block depends on: L layers, h heads, g KV heads, d head size, P tokens."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tokens: int


@dataclass(frozen=True)
class FrameFeatures:
    """What the vision side makes of T frames.

    Attributes:
        tokens: [T, P, D] projected features, the language model's input.
        embeddings: [T, D'] mean of the vision tower's own output, before the projector.
    """

    tokens: Tensor
    embeddings: Tensor


@dataclass
class Encoded:
    """KV of one segment as the language model computed it, per layer.

    Attributes:
        blocks: L tensors [n, 2, g, P, d]: keys before RoPE, and values.
        guidance: L tensors [h, d], mean guidance-prompt query; empty without a guidance prompt.
    """

    blocks: list[Tensor]
    guidance: list[Tensor]


def tokens_of(blocks: Tensor) -> Context:
    """Blocks [n, 2, g, P, d] as one run of tokens: keys and values [1, g, n x P, d]."""
    count, _, kv_heads, tokens, size = blocks.shape
    run = blocks.permute(1, 2, 0, 3, 4).reshape(2, 1, kv_heads, count * tokens, size)
    return run[0], run[1]


class VideoLLM(ABC):
    """A loaded model. Families fill in the abstract methods; the pipeline calls the others.

    Args:
        model: the stock transformers model, in eval mode on its device.
        tokenizer: of the checkpoint.
        template: its chat template.
        placement: where and in which type it runs.
    """

    placeholder: str

    def __init__(self, model: Any, tokenizer: Any, template: str, placement: Placement) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.template = template
        self.placement = placement
        self.shape = self._shape()
        self._taps = Taps(self._projections())

    @abstractmethod
    def preprocess(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Frames uint8 [H, W, 3] -> pixel values on the device."""

    @abstractmethod
    def features(self, pixels: Tensor) -> FrameFeatures:
        """Run the vision tower and the projector on a batch of frames."""

    @abstractmethod
    def rotate(self, keys: Tensor, start: int) -> Tensor:
        """Apply RoPE to keys [1, g, n, d] that stand at start, start + 1, ..."""

    @abstractmethod
    def after_video(self, ids: Tensor) -> Tensor:
        """Embeddings [1, S, D] of the tokens behind the video, with what the family puts there."""

    @abstractmethod
    def _shape(self) -> Shape:
        """Read the shape off the model's configuration."""

    @abstractmethod
    def _projections(self) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
        """Modules whose outputs are pre-RoPE queries and keys, layer by layer."""

    @abstractmethod
    def _language_model(self) -> Any:
        """The text model without its head."""

    after_video_extra: int = 0
    """Rows that `after_video` puts before the prompt's own tokens."""

    @property
    def longest_context(self) -> int:
        """Positions the language model was made for."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    def prompt(self, init_prompt: str, question: str) -> Prompt:
        """A question laid out with the checkpoint's chat template."""
        return render(self.tokenizer, self.template, self.placeholder, init_prompt, question)

    def guidance(self, guidance_prompt: str) -> Sequence[int]:
        """Token ids of a guidance prompt."""
        return guidance_ids(self.tokenizer, self.placeholder, guidance_prompt)

    @torch.inference_mode()
    def encode_prefix(self, ids: Sequence[int]) -> list[Context]:
        """KV of the init prompt, per layer: pre-RoPE keys and values [1, g, I, d]."""
        captured: list[Context] = []
        self._run(self._embed(ids), lambda _: self._no_context(), 0, captured=captured)
        return captured

    @torch.inference_mode()
    def encode(
        self,
        features: Tensor,
        context: Callable[[int], Context],
        position: int,
        guidance: Sequence[int] = (),
    ) -> Encoded:
        """Encode one segment after its context, in one forward (design 3.3).

        Args:
            features: [n, P, D]: the segment's frames and, if wanted, the summary block as one more.
            context: layer -> what it attends to: init prompt and window.
            position: where the segment's first token stands; no context is longer than this.
            guidance: token ids read after the segment; nothing of them is kept.
        """
        blocks, tokens = features.shape[:2]
        embeds = features.flatten(0, 1).unsqueeze(0).to(self.placement.dtype)
        if guidance:
            embeds = torch.cat([embeds, self._embed(guidance)], dim=1)
        rows = slice(blocks * tokens, None)
        captured: list[Context] = []
        queries: list[Tensor] = []

        def provide(layer: int) -> Context:
            if guidance:
                queries.append(self._taps.mean_query(self.shape.head_dim, rows))
            return context(layer)

        self._run(embeds, provide, position, captured=captured, keep=blocks * tokens)
        return Encoded([self._as_blocks(kv, blocks) for kv in captured], queries)

    @torch.inference_mode()
    def probe(self, prompt: Prompt, choose: ChooseContext, position: int) -> None:
        """First pass over the question: `choose` sees every layer's mean question query."""
        embeds = self.after_video(self._ids(prompt.after))
        self._run(embeds, self._asking(prompt, choose), position)

    @torch.inference_mode()
    def generate(
        self,
        prompt: Prompt,
        choose: ChooseContext,
        position: int,
        config: GenerationConfig,
        streamer: BaseStreamer | None = None,
    ) -> list[int]:
        """Second pass and the answer: token ids as `model.generate` produces them.

        Args:
            prompt: the question.
            choose: gives each layer its context when the question reaches it.
            position: where the first token behind the video stands.
            config: greedy or sampling, stop rules, length.
            streamer: told of each token as it comes.
        """
        embeds = self.after_video(self._ids(prompt.after))
        cache = self._cache(self._asking(prompt, choose), position, config.max_new_tokens or 0)
        positions = torch.arange(position, position + embeds.shape[1], device=embeds.device)
        output = self.model.generate(
            inputs_embeds=embeds,
            position_ids=positions.unsqueeze(0),
            past_key_values=cache,
            generation_config=config,
            streamer=streamer,
        )
        return [int(token) for token in output[0]]

    @torch.inference_mode()
    def logits(self, prompt: Prompt, choose: ChooseContext, position: int) -> Tensor:
        """[S, vocabulary] logits of every token behind the video; what parity is measured on."""
        embeds = self.after_video(self._ids(prompt.after))
        hidden = self._run(embeds, self._asking(prompt, choose), position)
        return self.model.get_output_embeddings()(hidden)[0]

    def _asking(self, prompt: Prompt, choose: ChooseContext) -> Callable[[int], Context]:
        first = prompt.question.start + self.after_video_extra
        rows = slice(first, first + prompt.question.stop - prompt.question.start)

        def provide(layer: int) -> Context:
            return choose(layer, self._taps.mean_query(self.shape.head_dim, rows))

        return provide

    def _run(
        self,
        embeds: Tensor,
        provide: Callable[[int], Context],
        position: int,
        *,
        captured: list[Context] | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """One forward through the text model; `captured` gets pre-RoPE keys and values a layer."""
        cache = self._cache(provide, position, 0, captured, keep)
        positions = torch.arange(position, position + embeds.shape[1], device=embeds.device)
        output = self._language_model()(
            inputs_embeds=embeds,
            position_ids=positions.unsqueeze(0),
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state

    def _cache(
        self,
        provide: Callable[[int], Context],
        position: int,
        room: int,
        captured: list[Context] | None = None,
        keep: int | None = None,
    ) -> ContextCache:
        if captured is None:
            return ContextCache(provide, self.rotate, position, self.shape.layers, room)
        taps, size, capture = self._taps, self.shape.head_dim, captured.append

        class Capturing(ContextCache):
            """Also keeps the new tokens' pre-RoPE keys and values."""

            def update(
                self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
            ) -> tuple[Tensor, Tensor]:
                keys = taps.keys(size)[:, :keep].unsqueeze(0)
                capture((keys, value_states[:, :, :keep]))
                return super().update(key_states, value_states, layer_idx)

        return Capturing(provide, self.rotate, position, self.shape.layers, room)

    def _as_blocks(self, kv: Context, blocks: int) -> Tensor:
        keys, values = kv
        both = torch.cat([keys, values])  # [2, g, n x P, d]
        return both.unflatten(2, (blocks, self.shape.tokens)).permute(2, 0, 1, 3, 4).contiguous()

    def _no_context(self) -> Context:
        shape = (1, self.shape.kv_heads, 0, self.shape.head_dim)
        empty = torch.empty(shape, dtype=self.placement.dtype, device=self.placement.device)
        return empty, empty

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], device=self.placement.device)

    def _embed(self, ids: Sequence[int]) -> Tensor:
        embeds: Tensor = self.model.get_input_embeddings()(self._ids(ids))
        return embeds
