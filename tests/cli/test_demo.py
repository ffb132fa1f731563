"""The demo's answers are right."""

import json
from pathlib import Path

from demo import BLOCKS, QUESTIONS

from tests.conftest import ROOT, Streamkv


def test_the_demo_model_answers_the_demos_questions_rightly(streamkv: Streamkv) -> None:
    result = streamkv("ingest", ROOT / "examples" / "demo.mp4", "--model", "demo", "--json")
    assert result.returncode == 0, result.stderr
    done = json.loads(result.stdout)
    assert done["blocks_kept"] < done["blocks_seen"] / 4
    assert len(QUESTIONS) == 5
    for question, answer in QUESTIONS.items():
        asked = streamkv("ask", question, *BLOCKS, "--json")
        assert json.loads(asked.stdout)["answer"] == answer


def test_the_demo_model_is_found_wherever_the_program_is(
    streamkv: Streamkv, demo_video: Path
) -> None:
    streamkv("ingest", demo_video, "--model", "demo", "-q")
    assert json.loads(streamkv("ls", "--json").stdout)["model"] == "demo"
