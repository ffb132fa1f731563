"""The one interface the pipeline knows: a Video-LLM that encodes segments and answers questions.

What a family does its own way (how frames become tokens, how positions work) is in its file; what
all of them share is here.
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

from streamkv_cli.model.context import KV, Context, blocks_of
from streamkv_cli.model.context_cache import ContextCache, Placed
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import Layout, Place
from streamkv_cli.model.prompts import Prompt, Said, guidance_ids, render
from streamkv_cli.model.text_model import TextModel

ChooseContext = Callable[[int, Tensor], Context]
"""(layer, queries [S', h, d] of the question's own words) -> that layer's context."""


@dataclass(frozen=True)
class FrameFeatures:
    """What the vision side makes of the frames of T blocks.

    Attributes:
        tokens: [T, V, D] projected features of the V visual tokens, the language model's input;
            families that feed its early layers as well have those features behind, in D.
        embeddings: [T, D'] mean of the vision tower's own output, before the projector.
        width: how much of D are the projected features; None for all.
    """

    tokens: Tensor
    embeddings: Tensor
    width: int | None = None

    @property
    def projected(self) -> Tensor:
        """[T, width] float64 mean of a block's projected features."""
        return self.tokens[..., : self.width].double().mean(dim=1)


@dataclass
class Encoded:
    """KV of one segment as the language model computed it, per layer.

    Attributes:
        blocks: L tensors [n, 2, g, P, d]: keys before RoPE, and values; unused slots are zero.
        guidance: L tensors [S', h, d], queries of the guidance prompt; empty without one.
    """

    blocks: list[Tensor]
    guidance: list[Tensor]


class VideoLLM(TextModel, ABC):
    """A loaded model. Families fill in the abstract methods; the pipeline calls the others.

    Args:
        model: the stock transformers model, in eval mode on its device.
        tokenizer: of the checkpoint.
        template: its chat template.
        placement: where and in which type it runs.
    """

    placeholder: str
    """The chat template's word for a video."""

    def __init__(self, model: Any, tokenizer: Any, template: str, placement: Placement) -> None:
        super().__init__(model, placement)
        self.tokenizer = tokenizer
        self.template = template

    @abstractmethod
    def lay_out(self, width: int, height: int, fps: float) -> Layout:
        """How the blocks of a video look whose frames are this large and sampled at `fps`."""

    @abstractmethod
    def preprocess(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Frames uint8 [H, W, 3] of one size -> pixel values [T, ...] of T blocks."""

    @abstractmethod
    def features(self, pixels: Tensor) -> FrameFeatures:
        """Run the vision tower and the projector on the pixels of T blocks."""

    def heading(self, start: float, end: float, number: int) -> Sequence[int]:
        """Token ids that stand before the picture of a block, for its first and last second.

        Args:
            start, end: times of its first and last frame.
            number: of the block in its video, from 0.
        """
        return ()

    def closing(self) -> Sequence[int]:
        """Token ids that stand behind the picture of a block."""
        return ()

    def after_video(self, ids: Tensor) -> Tensor:
        """Embeddings [1, S, D] of the tokens behind the video, with what the family puts there."""
        embeds: Tensor = self.model.get_input_embeddings()(ids)
        return embeds

    after_video_extra: int = 0
    """Rows that `after_video` puts before the prompt's own tokens."""

    def early(self, features: Tensor, rows: Tensor) -> dict[str, Any]:
        """What the text model gets besides embeddings where it sees vision features again.

        Args:
            features: [T, V, D] as `features` gave them.
            rows: [S] bool, which of the tokens are visual.
        """
        return {}

    def prompt(self, init_prompt: str, question: str, said: Said = ()) -> Prompt:
        """A question laid out with the checkpoint's chat template, behind what was said before."""
        return render(self.tokenizer, self.template, self.placeholder, init_prompt, question, said)

    def guidance(self, guidance_prompt: str) -> Sequence[int]:
        """Token ids of a guidance prompt."""
        return guidance_ids(self.tokenizer, self.placeholder, guidance_prompt)

    @torch.inference_mode()
    def encode_prefix(self, ids: Sequence[int]) -> list[Context]:
        """The init prompt as each layer's context."""
        captured: list[KV] = []
        positions = torch.arange(len(ids)).expand(self.axes, -1)
        self._run(self._embed(ids), self._nothing, positions, captured=captured)
        return [Context.of_text(kv, self.axes) for kv in captured]

    @torch.inference_mode()
    def encode(
        self,
        features: Tensor,
        layout: Layout,
        context: Callable[[int], Context],
        place: Place,
        guidance: Sequence[int] = (),
        headings: Sequence[Sequence[int]] | None = None,
    ) -> Encoded:
        """Encode one segment after its context, in one forward (design 3.3).

        Args:
            features: [n, V, D]: the segment's blocks and, if wanted, the summary block as one more.
            layout: of the video.
            context: layer -> what it attends to: init prompt and window.
            place: where the segment begins; no layer's context ends behind it.
            guidance: token ids read after the segment; nothing of them is kept.
            headings: of each block; None for none.
        """
        headings = headings or [()] * len(features)
        skips = [layout.head - len(words) for words in headings]
        embeds, visual = self._blocks_as_text(features, headings)
        positions, behind = layout.blocks(place, skips)
        size = embeds.shape[1]
        if guidance:
            embeds = torch.cat([embeds, self._embed(guidance)], dim=1)
            visual = torch.cat([visual, visual.new_zeros(len(guidance))])
            positions = torch.cat([positions, self._words(behind.text, len(guidance))], dim=1)
        rows = slice(size, None)
        captured: list[KV] = []
        queries: list[Tensor] = []

        def provide(layer: int) -> Placed:
            if guidance:
                queries.append(self._taps.queries(self.shape.head_dim, rows))
            held = context(layer)
            move = torch.tensor(place.axes) - torch.tensor(held.place.axes)
            return held.keys, held.values, held.positions + move.unsqueeze(1)

        extra = self.early(features, visual)
        self._run(embeds, provide, positions, captured=captured, keep=size, **extra)
        in_use = layout.rows_in_use(skips)
        blocks = []
        while captured:  # a layer's tokens go as its blocks come, or they would lie there twice
            blocks.append(blocks_of(captured.pop(0), len(features), layout.tokens, in_use))
        return Encoded(blocks, queries)

    @torch.inference_mode()
    def probe(self, prompt: Prompt, choose: ChooseContext, place: Place) -> None:
        """First pass over the question: `choose` sees every layer's question queries."""
        embeds = self.after_video(self._ids(prompt.after))
        positions = self._words(place.text, embeds.shape[1])
        self._run(embeds, self._asking(prompt, choose, place), positions)

    @torch.inference_mode()
    def generate(
        self,
        prompt: Prompt,
        choose: ChooseContext,
        place: Place,
        config: GenerationConfig,
        streamer: BaseStreamer | None = None,
    ) -> list[int]:
        """Second pass and the answer: token ids as `model.generate` produces them.

        Args:
            prompt: the question.
            choose: gives each layer its context when the question reaches it.
            place: the first token behind the video stands at its `text`; no layer's context may
                end behind it.
            config: greedy or sampling, stop rules, length.
            streamer: told of each token as it comes.
        """
        embeds = self.after_video(self._ids(prompt.after))
        provide = self._asking(prompt, choose, place)
        room = config.max_new_tokens or 0
        cache = ContextCache(provide, self.rotate, self.shape.layers, room)
        positions = self._words(place.text, embeds.shape[1])
        output = self.model.generate(
            inputs_embeds=embeds,
            position_ids=self._position_ids(positions),
            past_key_values=cache,
            generation_config=config,
            streamer=streamer,
        )
        return [int(token) for token in output[0]]

    @torch.inference_mode()
    def logits(self, prompt: Prompt, choose: ChooseContext, place: Place) -> Tensor:
        """[S, vocabulary] logits of every token behind the video; what parity is measured on."""
        embeds = self.after_video(self._ids(prompt.after))
        positions = self._words(place.text, embeds.shape[1])
        hidden = self._run(embeds, self._asking(prompt, choose, place), positions)
        return self.model.get_output_embeddings()(hidden)[0]

    def _asking(
        self, prompt: Prompt, choose: ChooseContext, place: Place
    ) -> Callable[[int], Placed]:
        first = prompt.question.start + self.after_video_extra
        rows = slice(first, first + prompt.question.stop - prompt.question.start)

        def provide(layer: int) -> Placed:
            held = choose(layer, self._taps.queries(self.shape.head_dim, rows))
            return held.keys, held.values, held.positions + (place.text - held.place.text)

        return provide

    def _blocks_as_text(
        self, features: Tensor, headings: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [1, S, D] of blocks with the words around them; [S] bool: visual tokens."""
        size = self.model.get_input_embeddings().weight.shape[1]
        tokens = features[..., :size].to(self.placement.dtype)
        closing = self._embed(self.closing())[0]
        pieces, visual = [], []
        for words, block in zip(headings, tokens, strict=True):
            pieces += [self._embed(words)[0], block, closing]
            visual += [len(words) * [False], len(block) * [True], len(closing) * [False]]
        mask = torch.tensor([row for rows in visual for row in rows], device=features.device)
        return torch.cat(pieces).unsqueeze(0), mask
