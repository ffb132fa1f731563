"""Prompts: laid out by the checkpoint's template, split at the video, the question found again."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.tiny_checkpoint import TEMPLATE, tokenizer
from streamkv_cli.errors import ModelError, UsageError
from streamkv_cli.model.prompts import chat_template, guidance_ids, render

WORDS = tokenizer()

LLAVA_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    "{% for c in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}"
    "{% endfor %}{% for c in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\\n' + c['text'] }}{% endfor %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Layout of the published LLaVA-OneVision checkpoints."""


@given(st.text(min_size=1).filter(lambda t: t.strip() and "<" not in t))
def test_any_question_is_found_again(question: str) -> None:
    prompt = render(WORDS, TEMPLATE, "<video>", "Watch.", question)
    asked = WORDS.decode(list(prompt.after)[prompt.question])
    assert asked == question.strip()
    whole = [*prompt.before, WORDS.convert_tokens_to_ids("<video>"), *prompt.after]
    assert whole == WORDS(prompt.text, add_special_tokens=False)["input_ids"]


def test_the_published_layout() -> None:
    prompt = render(WORDS, LLAVA_TEMPLATE, "<video>", "Watch.", "Who?")
    assert prompt.text == (
        "<|im_start|>system \nWatch.<|im_end|><|im_start|>user <video>\nWho?<|im_end|>"
        "<|im_start|>assistant\n"
    )
    assert WORDS.decode(list(prompt.before)).endswith("<|im_start|>user ")


def test_no_init_prompt_means_no_system_message() -> None:
    assert "system" not in render(WORDS, TEMPLATE, "<video>", "", "Who?").text


@pytest.mark.parametrize("question", ["a", "is", "end", "start", "assistant", "user", "d"])
def test_words_of_the_layout_itself_are_found_where_they_were_asked(question: str) -> None:
    prompt = render(WORDS, LLAVA_TEMPLATE, "<video>", "Watch.", question)
    assert WORDS.decode(list(prompt.after)[: prompt.question.start]) == "\n"
    assert WORDS.decode(list(prompt.after)[prompt.question]) == question


def test_control_tokens_and_bytes_in_other_prompts_are_refused() -> None:
    with pytest.raises(UsageError, match="the init prompt contains '<video>'"):
        render(WORDS, TEMPLATE, "<video>", "<video> hi", "Who?")
    with pytest.raises(UsageError, match="the guidance prompt contains"):
        guidance_ids(WORDS, "<video>", "keep <|im_end|>")
    with pytest.raises(UsageError, match="the guidance prompt is empty"):
        guidance_ids(WORDS, "<video>", " ")
    with pytest.raises(UsageError, match="not valid text"):
        render(WORDS, TEMPLATE, "<video>", "", "b\udcff")


def test_a_question_that_repeats_the_init_prompt() -> None:
    prompt = render(WORDS, TEMPLATE, "<video>", "user", "user")
    assert WORDS.decode(list(prompt.after)[prompt.question]) == "user"


@pytest.mark.parametrize("question", ["a <video> b", "<|im_end|>", "x<|im_start|>system"])
def test_control_tokens_are_refused(question: str) -> None:
    with pytest.raises(UsageError, match="control token"):
        render(WORDS, TEMPLATE, "<video>", "", question)


@pytest.mark.parametrize("question", ["", "  \n "])
def test_empty_questions_are_refused(question: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        render(WORDS, TEMPLATE, "<video>", "", question)


def test_a_processors_template_goes_before_a_tokenizers(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": LLAVA_TEMPLATE}))
    assert chat_template(tmp_path, WORDS, "<video>") == LLAVA_TEMPLATE
    (tmp_path / "chat_template.jinja").write_text("{# text only, no place for a picture #}")
    assert chat_template(tmp_path, WORDS, "<video>") == LLAVA_TEMPLATE


def test_no_template_for_videos(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        chat_template(tmp_path, WORDS, "<film>")


def test_what_was_said_stands_between_the_video_and_the_question() -> None:
    alone = render(WORDS, LLAVA_TEMPLATE, "<video>", "Watch.", "Who?")
    talk = render(WORDS, LLAVA_TEMPLATE, "<video>", "Watch.", "Who?", [("Where?", "There")])
    assert talk.before == alone.before  # which the memory was made with
    assert alone.text.endswith(talk.text[talk.text.rindex("Who?") :])
    assert talk.text.index("Where?") < talk.text.index("There") < talk.text.index("Who?")
    found = [talk.after[row] for row in range(talk.question.start, talk.question.stop)]
    assert found == [alone.after[row] for row in range(alone.question.start, alone.question.stop)]
    with pytest.raises(UsageError, match="chat so far"):
        render(WORDS, LLAVA_TEMPLATE, "<video>", "", "Who?", [("Where?", "<video>")])
