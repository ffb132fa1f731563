"""Questions to one, several and all videos; many questions at once; moments and stretches."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from examples.tiny_checkpoint import write_tiny_checkpoint
from streamkv_cli.commands.questions import Question, parse_question, read_questions
from streamkv_cli.commands.times import seconds
from streamkv_cli.errors import UsageError
from tests.clips import numbered, write_clip
from tests.conftest import Streamkv


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def three(streamkv: Streamkv, tiny: Path, tmp_path: Path) -> list[str]:
    """Names of three short videos in the store."""
    for number in (1, 2, 3):
        write_clip(tmp_path / f"{number}.mp4", numbered(number * 20), fps=10)
    videos = [tmp_path / f"{number}.mp4" for number in (1, 2, 3)]
    result = streamkv("ingest", *videos, "-m", tiny, "--fps", "2", "-q")
    assert result.returncode == 0, result.stderr
    return [video.name for video in videos]


def give(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(content.encode()), fileno=lambda: 0)
    monkeypatch.setattr(sys, "stdin", stdin)


def test_questions_from_stdin(
    streamkv: Streamkv, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "what is it?",
        "",
        '{"question": "what is it?", "video": "2.mp4", "id": {"row": 7}}',
        '{"question": "what is it?", "to": "0:02"}',
        '{"question": "a <video> b", "id": 8}',
        '{"question": "what?", "video": "4.mp4"}',
        '{"no json',
        "what is it?",
    ]
    give(monkeypatch, "\n".join(lines))
    result = streamkv("ask", "-", "--max-new-tokens", "4", "--json")
    assert result.returncode == 3
    records = json_lines(result.stdout)
    kinds = ["answer"] * 3 + ["failed"] * 3 + ["answer"]
    assert [record["type"] for record in records] == kinds
    assert [record.get("id") for record in records] == [None, {"row": 7}, None, 8, None, None, None]
    assert [record.get("exit") for record in records[3:6]] == [2, 1, 2]
    assert [record.get("videos") for record in records] == [3, 1, 3, None, None, None, 3]
    # Of several videos; one that is less alike to the question than the others is no evidence.
    assert len({piece["video"] for piece in records[0]["evidence"]} & set(three)) >= 2
    assert {piece["video"] for piece in records[1]["evidence"]} == {"2.mp4"}
    assert all(piece["end"] <= 2.5 for piece in records[2]["evidence"])
    assert records[0]["tokens"] == records[6]["tokens"]
    assert result.stderr.strip().splitlines()[-1] == "error: 3 of 7 questions failed"
    assert "error: a <video> b: the question contains" in result.stderr

    give(monkeypatch, "what\nis it?\0what?\0")
    result = streamkv("ask", "-", "-0", "--max-new-tokens", "4", "--json")
    assert [r["question"] for r in json_lines(result.stdout)] == ["what\nis it?", "what?"]
    give(monkeypatch, "\n\n")
    assert streamkv("ask", "-").returncode == 2


def test_each_video_by_itself(streamkv: Streamkv, three: list[str], store: Path) -> None:
    result = streamkv("ask", "what is it?", "--each", "--max-new-tokens", "4", "--json")
    assert result.returncode == 0
    records = json_lines(result.stdout)
    assert [record["video"] for record in records] == three
    for record in records:
        assert {piece["video"] for piece in record["evidence"]} == {record["video"]}
    alone = streamkv(
        "ask", "what is it?", "--video", "2.mp4", "--max-new-tokens", "4", "--json"
    ).stdout
    assert json_lines(alone)[0]["tokens"] == records[1]["tokens"]

    (damaged,) = (store / "videos").glob(f"{records[1]['video_id']}/00000000.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-600])
    result = streamkv("ask", "what is it?", "--each", "--max-new-tokens", "4")
    assert result.returncode == 3
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["1.mp4", "3.mp4"]
    assert "error: 2.mp4: block" in result.stderr
    assert result.stderr.strip().endswith("error: 1 of 3 videos failed")


def test_as_of_a_moment_and_between_two(streamkv: Streamkv, three: list[str]) -> None:
    words = ["ask", "what is it?", "--video", "3.mp4", "--max-new-tokens", "4"]
    (record,) = json_lines(streamkv(*words, "--at", "0:06", "--json").stdout)
    assert list(record["known_until"].values()) == [6]
    result = streamkv(*words, "--at", "0:05.9")
    assert (result.returncode, result.stdout) == (1, "")  # its only segment is not over
    assert "nothing of 3.mp4 is stored as of 5.9 s" in result.stderr
    (record,) = json_lines(streamkv(*words, "--from", "2", "--to", "00:00:04", "--json").stdout)
    assert all(2 <= piece["start"] < 4 for piece in record["evidence"])
    for wrong in (["--at", "x"], ["--from", "5", "--to", "4"], ["--to", "1:60"], ["-0"]):
        assert streamkv(*words, *wrong).returncode == 2


def test_videos_of_another_model_are_never_mixed_in(
    streamkv: Streamkv, three: list[str], tmp_path: Path, tiny: Path
) -> None:
    other = write_tiny_checkpoint(tmp_path / "other", seed=1, heads=6, hidden=96, kv_heads=2)
    write_clip(tmp_path / "4.mp4", numbered(15), fps=10)
    assert streamkv("ingest", tmp_path / "4.mp4", "-m", other, "-q").returncode == 0
    words = ["ask", "what is it?", "--max-new-tokens", "4", "--json"]
    mixed = streamkv(*words)
    assert mixed.returncode == 4
    assert "4.mp4 was ingested with another model: model weights" in mixed.stderr
    assert "--video asks some of the videos only" in mixed.stderr
    chosen = streamkv(*words, "-m", tiny)
    assert chosen.returncode == 0
    assert chosen.stderr == "warning: 4.mp4 is left out: ingested with another model\n"
    assert json_lines(chosen.stdout)[0]["videos"] == 3
    chosen = streamkv(*words, "-m", other)
    assert "warning: 1.mp4, 2.mp4, 3.mp4 are left out" in chosen.stderr
    assert json_lines(chosen.stdout)[0]["videos"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("750.5", 750.5), ("12:30", 750), ("00:12:30", 750), ("1:02:03.5", 3723.5)],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text, "--at") == expected


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1:60", "1:60:00", "1_0", "a:b", "1:2"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--at"):
        seconds(text, "--at")


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"{x",
        b"\xff\xfe",
        b'{"question": 1}',
        b'{"question": "a", "vidoe": "b"}',
        b'{"question": "a", "video": 3}',
        b'{"question": "a", "video": []}',
    ],
)
def test_bad_lines(raw: bytes) -> None:
    with pytest.raises(UsageError):
        parse_question(raw)


def test_good_lines() -> None:
    assert parse_question("wie heißt er?".encode()) == Question("wie heißt er?")
    given = b'{"question": "a", "video": ["b", "c"], "at": 5, "id": 1}'
    assert parse_question(given) == Question("a", 1, ["b", "c"], at=5)
    assert list(read_questions(io.BytesIO(b"a\r\n\n b \nc"))) == [b"a", b"b", b"c"]
    assert list(read_questions(io.BytesIO(b"a\nb\0\0c"), nul=True)) == [b"a\nb", b"c"]
