"""The demo model's tokenizer: whole words of the world as single tokens, and every byte.

Any text has tokens; text about the world has few.
"""

import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT

from .wordings import all_texts
from .world import COLOURS, GROUNDS, NUMBERS, SHAPES, TEXTURES

TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% for part in message['content'] %}\
{% if part['type'] == 'video' %}<video>{% endif %}\
{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}\
{% endfor %}<|im_end|>
{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Qwen's chat layout, with a place for one video."""

_WORD = re.compile(r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+")
_BYTE_COST, _WORD_COST = -20.0, -10.0


def tokenizer() -> PreTrainedTokenizerFast:
    """Build it; the same words in the same order every time."""
    encode = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys(alphabet, _BYTE_COST)
    for word in _words():
        piece = "".join(part for part, _ in encode.pre_tokenize_str(word))
        pieces.setdefault(piece, _WORD_COST)
    unigram = Tokenizer(models.Unigram(list(pieces.items()), unk_id=0))
    # Split at words first, so that no piece of the vocabulary is cut out of a longer word.
    unigram.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    unigram.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>", "<video>"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def _words() -> list[str]:
    """Every word the model is to know, in both cases, with and without a space before it."""
    texts = [INIT_PROMPT, GUIDANCE_PROMPT, "system user assistant", *all_texts()]
    found = dict.fromkeys(match.strip() for text in texts for match in _WORD.findall(text))
    cased: dict[str, None] = {}
    for word in [*_named(), *found]:
        for variant in (word, word.lower(), word.capitalize()):
            cased.update({variant: None, f" {variant}": None})
    return [word for word in cased if len(word) > 1]


def _named() -> Iterable[str]:
    return [*SHAPES, *COLOURS, *GROUNDS, *TEXTURES, *NUMBERS, "none", "blank", "yes", "no"]


def word_id(words: Any, word: str) -> int:
    """Token of " word", which every word of the world has."""
    ids = words(f" {word}", add_special_tokens=False)["input_ids"]
    assert len(ids) == 1, word
    return int(ids[0])
