"""The words around the video: what stands before it, what guides compression, and the question.

The checkpoint's own chat template lays them out. Everything before the video placeholder is the
init prompt (encoded once, seen by every segment); everything after it is asked later.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamkv_cli.errors import ModelError, UsageError

INIT_PROMPT = (
    "You are a helpful assistant who watches a long video as it streams. Keep track of the people "
    "and objects in it, what they do and where, text and numbers on the screen, and when each "
    "thing begins, changes and ends, so that questions about any moment can be answered later."
)
"""System message of a memory, unless the user gives another."""

GUIDANCE_PROMPT = (
    "Which moments of this scene will later questions need? Keep the frames that show: objects and "
    "people with their colours, shapes and other attributes; actions and changes of state, and "
    "when they happen; text, numbers and signs; how many there are and where they stand; causes, "
    "results and anything unusual."
)
"""Read after each segment; what it attends to is what is kept (paper, section 3.2)."""


_MARK = "\N{OBJECT REPLACEMENT CHARACTER} here is the question"


@dataclass(frozen=True)
class Prompt:
    """A chat with one video in it, as tokens.

    Attributes:
        before: token ids up to the video.
        after: token ids behind it, up to where the answer begins.
        question: rows of `after` that the question's own words take up.
        text: the whole chat as text, the video shown by its placeholder.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    question: slice
    text: str


def chat_template(folder: Path, tokenizer: Any, placeholder: str) -> str:
    """The template that knows where a video goes; processors' before tokenizers'.

    Args:
        folder: of the checkpoint.
        placeholder: the video token, which a usable template mentions.
    """
    candidates: list[Any] = []
    if (jinja := folder / "chat_template.jinja").is_file():
        candidates.append(jinja.read_text(encoding="utf-8"))
    for name in ("chat_template.json", "processor_config.json"):
        if (path := folder / name).is_file():
            candidates.append(json.loads(path.read_text(encoding="utf-8")).get("chat_template"))
    candidates.append(tokenizer.chat_template)
    for template in candidates:
        if isinstance(template, dict):
            template = template.get("default")
        if isinstance(template, str) and placeholder in template:
            return template
    raise ModelError(
        f"{folder} has no chat template with a place for a video ({placeholder})",
        "the download is incomplete, or the checkpoint is not a Video-LLM for chat",
    )


Said = Sequence[tuple[str, str]]
"""Questions of a chat with their answers, the first one first."""


def render(
    tokenizer: Any,
    template: str,
    placeholder: str,
    init_prompt: str,
    question: str,
    said: Said = (),
) -> Prompt:
    """Lay out a question the way the checkpoint was trained to read it.

    Args:
        said: what was asked and answered before; the video stands before the first question.

    Raises:
        UsageError: the question is empty or contains one of the tokenizer's special tokens, which
            would be read as structure instead of words.
    """
    question = question.strip()
    if not question:
        raise UsageError("the question is empty", 'ask something, e.g. "what happens first?"')
    refuse_control_tokens(tokenizer, placeholder, question, "the question")
    refuse_control_tokens(tokenizer, placeholder, init_prompt, "the init prompt")
    for turn in said:
        for words in turn:
            refuse_control_tokens(tokenizer, placeholder, words, "the chat so far")

    def laid_out(words: str) -> str:
        messages: list[dict[str, Any]] = []
        if init_prompt:
            messages.append({"role": "system", "content": [{"type": "text", "text": init_prompt}]})
        content: list[dict[str, Any]] = [{"type": "video"}]
        for asked, answered in said:
            messages.append({"role": "user", "content": [*content, _text(asked)]})
            messages.append({"role": "assistant", "content": [_text(answered)]})
            content = []
        messages.append({"role": "user", "content": [*content, _text(words)]})
        rendered: str = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        return rendered

    text = laid_out(question)
    # Where the question stands is found with a mark in its place: "a" also stands in "assistant".
    first = laid_out(_MARK).index(_MARK)
    # Tokenised whole and split at the placeholder, as a stock processor does it: a token may not
    # be cut differently just because the video is cut out.
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    video = ids.index(tokenizer.convert_tokens_to_ids(placeholder))
    last = first + len(question)
    rows = [
        row
        for row, (start, stop) in enumerate(offsets[video + 1 :])
        if start < last and stop > first
    ]
    return Prompt(
        before=tuple(ids[:video]),
        after=tuple(ids[video + 1 :]),
        question=slice(rows[0], rows[-1] + 1),
        text=text,
    )


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def refuse_control_tokens(tokenizer: Any, placeholder: str, text: str, what: str) -> None:
    """Refuse words that the model would read as structure, and bytes that are no words.

    Raises:
        UsageError: `text`, called `what`, holds a control token or is not valid Unicode.
    """
    reserved = set(tokenizer.all_special_tokens) | {placeholder, *tokenizer.get_added_vocab()}
    if found := sorted(token for token in reserved if token.strip() and token in text):
        raise UsageError(
            f"{what} contains {found[0]!r}, which the model reads as a control token",
            "leave it out",
        )
    if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
        raise UsageError(f"{what} is not valid text", "write it in UTF-8")


def guidance_ids(tokenizer: Any, placeholder: str, guidance_prompt: str) -> Sequence[int]:
    """Token ids of the guidance prompt, read right after a segment.

    Raises:
        UsageError: it is empty, or holds a control token.
    """
    if not guidance_prompt.strip():
        raise UsageError(
            "the guidance prompt is empty", "say what to keep, or use --keep 1 to keep everything"
        )
    refuse_control_tokens(tokenizer, placeholder, guidance_prompt, "the guidance prompt")
    return tuple(tokenizer(guidance_prompt, add_special_tokens=False)["input_ids"])
