"""Lay questions out as rows behind a video, as the program does, many in one batch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

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
from .world import COLOURS, SHAPES, Fact, Scene

if TYPE_CHECKING:
    from .ingested import Ingested

NEWLINE = -1
"""Stands for the learned newline, which is no token."""
EARLIER = 4
"""Earlier showings of an object are told apart up to this many."""
MOVED = 0.2
"""Share of its way that an object has to be seen to go until its motion counts as shown."""


@dataclass
class Video:
    """A composed video.

    Attributes:
        scenes: what was shown, one second a frame.
        blocks: per block, the (clip, frame) pairs whose mean it is: one for a frame, all frames of
            the segment for a summary block.
        owners: per block, the scene it belongs to.
        clear: per block, whether it is a frame that shows all of its scene.
        way: per block, how much of its object's way has been seen in this showing, 0 to 1.
        segments: per block, the number of its segment.
        summed: whether a summary block is the last of each segment.
    """

    scenes: list[Scene]
    blocks: list[list[tuple[int, int]]]
    owners: list[int]
    clear: list[bool]
    way: list[float]
    segments: list[int]
    summed: bool

    def shows_motion(self, fact: Fact) -> bool:
        """Whether any showing of a fact is long enough to see which way the object goes."""
        return any(
            way >= MOVED and self.scenes[owner].fact == fact
            for way, owner in zip(self.way, self.owners, strict=True)
        )


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
        motion: [B, N] which way the object goes, -100 where it cannot be known yet.
        showing: [B, N] how many earlier scenes showed the same object, at most EARLIER; -100 for
            idle scenes and padding.
        begins: [B, N] 1 for the first frame of a scene, 0 for its others, -100 for summary blocks
            and padding.
        questions: the B x Q questions.
        ingested: the segments it is read in; None where a video is read in one context.
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
    motion: Tensor
    showing: Tensor
    begins: Tensor
    questions: list[list[Question]]
    ingested: "Ingested | None" = None


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


class Packed(TypedDict):
    """The fields of a `Batch` that hold its questions."""

    ids: Tensor
    places: Tensor
    askers: Tensor
    labels: Tensor
    asking: Tensor


def pack(asked: Sequence[Sequence[Question]], tokens: Tokens) -> Packed:
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
    """Blocks of the scenes that prove each answer, and what is true of blocks, for a `Batch`."""
    longest = max(len(video.blocks) for video in videos)
    proof = torch.zeros(len(videos), len(asked[0]), longest, dtype=torch.bool)
    source = proof.clone()
    before = torch.full((len(videos), longest, 2), -100)
    motion, showing, begins = torch.full((3, len(videos), longest), -100)
    for row, (video, questions) in enumerate(zip(videos, asked, strict=True)):
        count = len(video.owners)
        for number, question in enumerate(questions):
            proof[row, number, :count], source[row, number, :count] = _proof(video, question)
        before[row, :count], motion[row, :count], showing[row, :count] = _truths(video)
        frames = torch.tensor([len(block) == 1 for block in video.blocks])
        owners = torch.tensor(video.owners)[frames]
        begins[row, :count][frames] = owners.diff(prepend=torch.tensor([-1])).ne(0).long()
    return {
        "proof": proof,
        "source": source,
        "before": before,
        "motion": motion,
        "showing": showing,
        "begins": begins,
    }


def _proof(video: Video, question: Question) -> tuple[Tensor, Tensor]:
    """Bool [N]: blocks of the scenes that prove an answer, and those that show it."""
    owners = torch.tensor(video.owners)
    clear = torch.tensor(video.clear)
    if question.kind == "guide":
        # What is worth keeping is what shows something, in any scene.
        shown = torch.tensor([video.scenes[scene].fact.thing is not None for scene in owners])
        return clear & shown, clear & shown & (owners == owners[-1])
    starts = {scene.start: number for number, scene in enumerate(video.scenes)}
    scenes = torch.tensor([starts[start] for start, _ in question.proof], dtype=torch.int64)
    proof = torch.isin(owners, scenes)
    if question.kind == "order":
        # What came after something is not to be seen where that something is.
        words = [None if s.fact.thing is None else s.fact.thing.words for s in video.scenes]
        return proof, proof & torch.tensor([words[i] == question.answer for i in video.owners])
    if question.kind == "motion":
        return proof, proof & (torch.tensor(video.way) >= MOVED)
    if question.kind == "counting" and len(scenes):
        return proof, proof & (owners == scenes.max())
    return proof, proof


def _truths(video: Video) -> tuple[Tensor, Tensor, Tensor]:
    """`before`, `motion` and `showing` of a video's blocks, as in `Batch`."""
    nothing = (len(COLOURS), len(SHAPES))
    before, motion, showing = [nothing], [], []
    seen: Counter[Fact] = Counter()
    for scene in video.scenes:
        fact = scene.fact
        before.append((fact.thing.colour, fact.thing.shape) if fact.thing else nothing)
        motion.append(-100 if fact.motion is None else fact.motion)
        showing.append(-100 if fact.thing is None else min(seen[fact], EARLIER))
        seen[fact] += 1
    owners = torch.tensor(video.owners)
    unseen = torch.tensor(video.way) < MOVED
    return (
        torch.tensor(before)[owners],
        torch.tensor(motion)[owners].masked_fill(unseen, -100),
        torch.tensor(showing)[owners],
    )
