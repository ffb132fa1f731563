"""Lay questions out as rows behind a video, as the program does, many in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamkv_cli.model.prompts import (
    GUIDANCE_PROMPT,
    INIT_PROMPT,
    Prompt,
    render,
)

from .questions import Question
from .vocabulary import TEMPLATE
from .world import COLOURS, SHAPES, Scene

NEWLINE = -1
"""Stands for the learned newline, which is no token."""


@dataclass
class Video:
    """A composed video.

    Attributes:
        scenes: what was shown, one second a frame.
        blocks: per block, the (clip, frame) pairs whose mean it is: one for a frame, all frames of
            the segment for a summary block.
        owners: per block, the scene it belongs to.
        clear: per block, whether it is a frame that shows all of its scene.
    """

    scenes: list[Scene]
    blocks: list[list[tuple[int, int]]]
    owners: list[int]
    clear: list[bool]


@dataclass
class Batch:
    """Videos with packed questions.

    Attributes:
        video: [B, N, P, D] blocks, padded at the end.
        blocks: [B] blocks of each video.
        kept: per layer, [B, K] blocks a question sees, in time order, padded with -1.
        ids: [B, R] tokens behind the video, all questions in a row; NEWLINE begins each, but
            not the guidance prompt.
        places: [B, R] place of a row in its question.
        askers: [B, R] which question a row belongs to, -1 for padding.
        labels: [B, R] the token to predict after each row, -100 where nothing is asked.
        asking: bool [B, R] rows that are the question's own words.
        proof: bool [B, Q, N] blocks that prove the answer; none where absence is the answer.
        source: bool [B, Q, N] those of them that show the answer itself.
        before: [B, N, 2] colour and shape of what the scene before a block's own showed, the number
            of colours and of shapes where it showed nothing, -100 for padding.
        questions: the B x Q questions.
    """

    video: Tensor
    blocks: Tensor
    kept: list[Tensor]
    ids: Tensor
    places: Tensor
    askers: Tensor
    labels: Tensor
    asking: Tensor
    proof: Tensor
    source: Tensor
    before: Tensor
    questions: list[list[Question]]


class Tokens:
    """Token ids of questions and answers as the program lays them out, remembered by text."""

    def __init__(self, words: Any) -> None:
        self.words = words
        self._asked: dict[str, Prompt] = {}
        self._answers: dict[str, tuple[int, ...]] = {}
        self.prefix = render(words, TEMPLATE, "<video>", INIT_PROMPT, "?").before
        self.guidance = tuple(words(GUIDANCE_PROMPT, add_special_tokens=False)["input_ids"])
        self.end = int(words.eos_token_id)

    def asked(self, text: str) -> Prompt:
        """A question as the program lays it out."""
        if text not in self._asked:
            self._asked[text] = render(self.words, TEMPLATE, "<video>", INIT_PROMPT, text)
        return self._asked[text]

    def answer(self, text: str) -> tuple[int, ...]:
        """Answers begin with a space, so that a word is one token; the end token closes them."""
        if text not in self._answers:
            ids = self.words(f" {text}", add_special_tokens=False)["input_ids"]
            self._answers[text] = (*ids, self.end)
        return self._answers[text]


def pack(asked: Sequence[Sequence[Question]], tokens: Tokens) -> dict[str, Tensor]:
    """Rows of all questions of a video one after another, as the fields of a `Batch`."""
    packed = [[_rows(question, tokens) for question in questions] for questions in asked]
    longest = max(sum(len(ids) for ids, _, _ in rows) for rows in packed)
    shape = (len(packed), longest)
    ids, places = torch.full(shape, tokens.end), torch.zeros(shape, dtype=torch.int64)
    askers, labels = torch.full(shape, -1), torch.full(shape, -100)
    asking = torch.zeros(shape, dtype=torch.bool)
    for row, questions in enumerate(packed):
        start = 0
        for number, (text, wanted, own) in enumerate(questions):
            stop = start + len(text)
            ids[row, start:stop] = torch.tensor(text)
            labels[row, start:stop] = torch.tensor(wanted)
            places[row, start:stop] = torch.arange(len(text))
            askers[row, start:stop] = number
            asking[row, start + own.start : start + own.stop] = True
            start = stop
    return {"ids": ids, "places": places, "askers": askers, "labels": labels, "asking": asking}


def _rows(question: Question, tokens: Tokens) -> tuple[list[int], list[int], slice]:
    """Ids of one question, the newline first; the token to predict after each; its own words."""
    answer = tokens.answer(question.answer)
    if question.kind == "guide":
        ids = [*tokens.guidance, *answer]
        return (
            ids[:-1],
            [-100] * (len(tokens.guidance) - 1) + list(answer),
            slice(0, len(tokens.guidance)),
        )
    prompt = tokens.asked(question.text)
    ids = [NEWLINE, *prompt.after, *answer]
    labels = [-100] * len(prompt.after) + list(answer)
    own = slice(prompt.question.start + 1, prompt.question.stop + 1)
    return ids[:-1], labels, own


def proofs(videos: Sequence[Video], asked: Sequence[Sequence[Question]]) -> dict[str, Tensor]:
    """Blocks of the scenes that prove each answer, as the fields of a `Batch`."""
    longest = max(len(video.blocks) for video in videos)
    proof = torch.zeros(len(videos), len(asked[0]), longest, dtype=torch.bool)
    source = proof.clone()
    before = torch.full((len(videos), longest, 2), -100)
    for row, (video, questions) in enumerate(zip(videos, asked, strict=True)):
        starts = {scene.start: number for number, scene in enumerate(video.scenes)}
        owners = torch.tensor(video.owners)
        clear = torch.tensor(video.clear)
        shown = torch.tensor([video.scenes[scene].fact.thing is not None for scene in owners])
        for number, question in enumerate(questions):
            if question.kind == "guide":
                # What is worth keeping is what shows something, in any scene.
                proof[row, number, : len(owners)] = clear & shown
                source[row, number, : len(owners)] = clear & shown & (owners == owners[-1])
                continue
            for start, _ in question.proof:
                scene = starts[start]
                thing = video.scenes[scene].fact.thing
                own = owners == scene
                proof[row, number, : len(owners)] |= own
                # What came after something is not to be seen where that something is.
                if question.kind != "order" or (thing and thing.words == question.answer):
                    source[row, number, : len(owners)] |= own
        things = [None, *(scene.fact.thing for scene in video.scenes)]
        for block, scene in enumerate(video.owners):
            thing = things[scene]
            shown_before = (thing.colour, thing.shape) if thing else (len(COLOURS), len(SHAPES))
            before[row, block] = torch.tensor(shown_before)
    return {"proof": proof, "source": source, "before": before}
