"""The demo's answers are right."""

import json
import shlex
from pathlib import Path

from examples.demo import BLOCKS, QUESTIONS
from tests.conftest import ROOT, Streamkv
from tests.test_docs import sessions


def test_the_demo_model_answers_the_demos_questions_rightly(streamkv: Streamkv) -> None:
    result = streamkv("ingest", ROOT / "examples" / "demo.mp4", "--model", "demo", "--json")
    assert result.returncode == 0, result.stderr
    done = json.loads(result.stdout)
    assert done["blocks_kept"] < done["blocks_seen"] / 3
    assert len(QUESTIONS) == 5
    for question, answer in QUESTIONS.items():
        asked = streamkv("ask", question, *BLOCKS, "--json")
        assert json.loads(asked.stdout)["answer"] == answer


def test_the_readme_shows_what_the_demo_prints(streamkv: Streamkv) -> None:
    shown = sessions(ROOT / "README.md")
    ingested = [lines for command, lines in shown if command.startswith("streamkv ingest")]
    result = streamkv("ingest", ROOT / "examples" / "demo.mp4", "--model", "demo")
    # A slow machine also shows how far it has come.
    told = [line for line in result.stderr.splitlines() if "x real time," not in line]
    for printed, line in zip(told[:2], ingested[0][:2], strict=True):
        assert printed.split(" (")[0] == line.split(" (")[0]
    asked = [shlex.split(command)[2:] + lines for command, lines in shown if " ask " in command]
    assert len(asked) >= 3
    for question, flag, number, answer, *evidence in asked:
        assert (flag, number) == BLOCKS
        assert answer == QUESTIONS[question]
        # How near scores are to each other depends on the machine, where they are hardly.
        result = streamkv("ask", question, *BLOCKS)
        assert len(set(result.stderr.splitlines()) & set(evidence)) >= 3


def test_the_demo_model_is_found_wherever_the_program_is(
    streamkv: Streamkv, demo_video: Path
) -> None:
    streamkv("ingest", demo_video, "--model", "demo", "-q")
    assert json.loads(streamkv("ls", "--json").stdout)["model"] == "demo"
