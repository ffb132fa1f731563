"""Answer: read the summaries, choose layer by layer, move only the chosen blocks, generate."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, TextStreamer

from store import Store, VideoRecord
from streamkv_cli.method.presets import Method
from streamkv_cli.model.context import Context
from streamkv_cli.model.prompts import Prompt
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.evidence import Evidence, gather
from streamkv_cli.pipeline.retrieve import Retriever
from streamkv_cli.pipeline.slots import layout_of
from streamkv_cli.pipeline.talk import Kept, Turn

Prefixes = dict[tuple[int, ...], list[Context]]
"""Init prompts by their tokens: KV of each layer."""


@dataclass(frozen=True)
class Sampling:
    """How the answer's words are picked; temperature 0 is greedy.

    Attributes:
        max_new_tokens: longest answer.
        temperature, top_p, top_k: None leaves the checkpoint's value.
        seed: of the sampling.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """An answer with what it rests on and what it cost.

    Attributes:
        text: the answer.
        tokens: its token ids.
        prompt: the whole chat as text.
        evidence: best first.
        budgets: blocks fetched in each layer.
        blocks_stored, blocks_fetched: over all layers; fetched counts reads, from both passes.
        bytes_stored, bytes_fetched: of block KV.
        seconds: until the first token, and in all.
    """

    text: str
    tokens: list[int]
    prompt: str
    evidence: list[Evidence]
    budgets: list[int]
    blocks_stored: int
    blocks_fetched: int
    bytes_stored: int
    bytes_fetched: int
    seconds_to_first_token: float
    seconds: float


class _Words(TextStreamer):
    """Hands words on as they come and notes when the first token did."""

    def __init__(
        self, tokenizer: Any, on_text: Callable[[str], None], check: Callable[[], None]
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._check = check
        self._on_text = on_text
        self.first_token: float | None = None
        self.pieces: list[str] = []

    def put(self, value: Tensor) -> None:
        """Take the prompt (once, first) or the next token."""
        self._check()
        if not self.next_tokens_are_prompt and self.first_token is None:
            self.first_token = time.perf_counter()
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Take text that later tokens cannot change any more."""
        if not self.pieces:
            text = text.lstrip()  # models begin an answer with a space as often as not
        if text:
            self.pieces.append(text)
            self._on_text(text)


class Asker:
    """Answers questions with one model, which encodes each init prompt once.

    Args:
        model: the one that the videos were ingested with.
        method: retrieval settings.
        sampling: how words are picked.
        prefixes: init prompts that are encoded already; added to.
        check: called at every layer's choice and every token; may raise to give the answer up.
    """

    def __init__(
        self,
        model: VideoLLM,
        method: Method,
        sampling: Sampling,
        prefixes: Prefixes | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self.method = method
        self.sampling = sampling
        self._prefixes = {} if prefixes is None else prefixes
        self._check = check

    def answer(
        self,
        catalog: Catalog,
        question: str,
        on_text: Callable[[str], None] = lambda _: None,
        turns: Sequence[Turn] = (),
    ) -> Answer:
        """Answer a question from stored KV; no video is opened.

        Args:
            catalog: what may be drawn from, of videos whose profiles agree with the model.
            on_text: told of the answer's text as it comes.
            turns: of a chat before this question, which keeps what they rested on.

        Raises:
            UsageError: the question is empty or holds a control token.
            StoreDamaged: a block that was chosen does not read back as it was written.
        """
        begun = time.perf_counter()
        model, io = self.model, catalog.store.io
        said = [(turn.question, turn.answer) for turn in turns]
        prompt = model.prompt(catalog.records[0].profile["init_prompt"], question, said)
        layouts = [layout_of(record, model) for record in catalog.records]
        kept = Kept(catalog, turns) if turns else None
        retriever = Retriever(catalog, self.prefix(prompt), layouts, self.method, kept)
        before = copy.copy(io)

        def choose(layer: int, queries: Tensor) -> Context:
            self._check()
            return retriever.choose(layer, queries)

        if not retriever.everything_fits:
            model.probe(prompt, choose, retriever.place)
            retriever.settle()
        words = _Words(model.tokenizer, on_text, self._check)
        torch.manual_seed(self.sampling.seed)
        config = _generation(model, self.sampling)
        tokens = model.generate(prompt, choose, retriever.place, config, words)
        done = time.perf_counter()
        return Answer(
            text="".join(words.pieces).strip(),
            tokens=tokens,
            prompt=prompt.text,
            evidence=gather(retriever, catalog),
            budgets=retriever.fetched,
            blocks_stored=sum(retriever.stored),
            blocks_fetched=io.blocks - before.blocks,
            bytes_stored=retriever.bytes_stored,
            bytes_fetched=io.bytes - before.bytes,
            seconds_to_first_token=(words.first_token or done) - begun,
            seconds=done - begun,
        )

    def prefix(self, prompt: Prompt) -> list[Context]:
        """KV of what stands before the video, per layer."""
        if prompt.before not in self._prefixes:
            self._prefixes[prompt.before] = self.model.encode_prefix(prompt.before)
        return self._prefixes[prompt.before]


def answer_question(
    store: Store,
    records: Sequence[VideoRecord],
    model: VideoLLM,
    method: Method,
    question: str,
    *,
    sampling: Sampling,
    init_prompt: str | None = None,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Answer one question from stored KV of some videos, all that is stored of them.

    Args:
        store: open for reading.
        records: the videos to draw from; their profiles agree with the model.
        method: retrieval settings.
        init_prompt: must be the one the videos were ingested with, where it is given.
        on_text: told of the answer's text as it comes.

    Raises:
        ValueError: another init prompt, or a video that the store does not hold.
        StoreDamaged: a block that was chosen does not read back as it was written.
    """
    if init_prompt not in (None, records[0].profile["init_prompt"]):
        raise ValueError("the videos were ingested with another init prompt")
    states = {record.video_id: state for record, state in store.videos()}
    catalog = Catalog(store, [(record, states[record.video_id]) for record in records])
    return Asker(model, method, sampling).answer(catalog, question, on_text)


def _generation(model: VideoLLM, sampling: Sampling) -> GenerationConfig:
    """The checkpoint's own generation settings with the user's on top."""
    config = copy.deepcopy(model.model.generation_config)
    config.max_new_tokens = sampling.max_new_tokens
    config.max_length = None
    config.do_sample = sampling.temperature > 0
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p if sampling.top_p is not None else config.top_p
        config.top_k = sampling.top_k if sampling.top_k is not None else config.top_k
    else:
        config.temperature = config.top_p = config.top_k = None
    if config.eos_token_id is None:
        config.eos_token_id = model.tokenizer.eos_token_id
    if config.pad_token_id is None:
        config.pad_token_id = model.tokenizer.pad_token_id
    return config
