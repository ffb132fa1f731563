"""The command line as a user meets it: processes, streams, exit codes, one-line errors."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.tiny_checkpoint import write_tiny_checkpoint
from streamkv_cli.app import COMMANDS
from tests.clips import numbered, write_clip
from tests.conftest import Streamkv
from tests.store.samples import damage_last_block


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def one_line_error(result: subprocess.CompletedProcess[str], code: int) -> str:
    """The only message of a command that failed as foreseen."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def ingested(streamkv: Streamkv, demo_video: Path, tiny: Path) -> Path:
    result = streamkv("ingest", demo_video, "-m", tiny, "--fps", "1", "-q")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return demo_video


def test_ingest_ask_ls_show_rm(
    streamkv: Streamkv, process: Streamkv, demo_video: Path, tiny: Path
) -> None:
    result = process("ingest", demo_video, "--model", tiny, "--fps", "1", "--json", "-v")
    (done,) = json_lines(result.stdout)
    assert result.returncode == 0
    assert (done["type"], done["status"]) == ("ingest", "done")
    assert (done["seconds"], done["frames"], done["segments"]) == (48, 48, 6)
    assert done["bytes_per_hour"] == pytest.approx(done["bytes"] * 75, rel=1e-4)
    assert 0 < done["blocks_kept"] < done["blocks_seen"]
    assert {"decode", "vision", "language model", "write", "total"} <= set(done["wall"])
    assert "decoded by decord" in result.stderr
    assert "CPU" in result.stderr

    again = streamkv("ingest", demo_video, "--model", tiny, "--fps", "1")
    assert again.returncode == 0
    assert "already ingested: 6 segments" in again.stderr

    result = process("ask", "what is it?", "--max-new-tokens", "8", "--blocks", "2", "-v")
    assert result.returncode == 0
    assert len(result.stdout.strip()) >= 1
    assert re.search(r"scenes.mp4 \d:\d\d.*\(\d of 3 layers\)", result.stderr)
    fetched, stored = map(int, re.search(r"fetched (\d+) of (\d+) blocks", result.stderr).groups())  # type: ignore[union-attr]
    assert 0 < fetched < stored

    (answer,) = json_lines(
        streamkv("ask", "what is it?", "--max-new-tokens", "8", "--blocks", "2", "--json").stdout
    )
    assert answer["answer"] == result.stdout.strip()
    assert answer["blocks_fetched"] == fetched
    assert answer["evidence"][0]["video"] == "scenes.mp4"

    (listed,) = json_lines(streamkv("ls", "--json").stdout)
    assert (listed["name"], listed["complete"], listed["end"]) == ("scenes.mp4", True, 48)
    assert "scenes.mp4\t0:48\t6\t" in streamkv("ls").stdout

    video, *segments = json_lines(streamkv("show", "scenes.mp4", "--json").stdout)
    assert video["profile"]["fps"] == 1
    assert [s["start"] for s in segments] == [0, 8, 16, 24, 32, 40]
    assert sum(s["bytes"] for s in segments) == done["bytes"]
    assert all(len(s["kept"]) == 3 for s in segments)

    result = streamkv("rm", listed["id"][:6])
    assert result.returncode == 0
    assert "removed scenes.mp4" in result.stderr
    assert "holds no video yet" in one_line_error(streamkv("ls"), 1)


def test_asking_what_is_not_there_says_what_to_do(streamkv: Streamkv, ingested: Path) -> None:
    line = one_line_error(streamkv("ask", "who?", "--video", "other.mp4"), 1)
    assert "no video other.mp4" in line
    assert "streamkv ls" in line


def test_dates_choose_videos_in_every_command(streamkv: Streamkv, ingested: Path) -> None:
    for words in (["ls"], ["show"], ["ask", "who?"], ["rm"]):
        line = one_line_error(streamkv(*words, "--until", "1999-12-31"), 1)
        assert "matches --until 1999-12-31" in line
        assert "no date" in one_line_error(streamkv(*words, "--since", "soon"), 2)
    assert "name them" in one_line_error(streamkv("rm"), 2)
    (listed,) = json_lines(streamkv("ls", "--since", "2000-01-01", "--json").stdout)
    assert listed["name"] == ingested.name


def test_asking_a_missing_store(streamkv: Streamkv) -> None:
    assert "ingest a video" in one_line_error(streamkv("ask", "who?"), 1)


def test_the_same_video_with_other_settings_is_refused(
    streamkv: Streamkv, ingested: Path, tiny: Path
) -> None:
    line = one_line_error(streamkv("ingest", ingested, "-m", tiny, "--fps", "2"), 4)
    assert "frames a second 1.0 there, 2.0 now" in line
    assert "streamkv rm" in line


def test_other_weights_are_refused_before_anything_is_loaded(
    streamkv: Streamkv, ingested: Path, tmp_path: Path
) -> None:
    other = write_tiny_checkpoint(tmp_path / "other", seed=1, heads=6, hidden=96, kv_heads=2)
    line = one_line_error(streamkv("ask", "who?", "-m", other), 4)
    assert "ingested with another model: model weights" in line
    assert "--model" in line


def test_a_model_that_has_moved(
    streamkv: Streamkv, demo_video: Path, tiny: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(tiny, tmp_path / "before"))
    streamkv("ingest", demo_video, "-m", moved, "-q")
    moved = moved.rename(tmp_path / "after")
    line = one_line_error(streamkv("ask", "who?"), 2)
    assert "cannot be found" in line
    assert "say where with --model" in line
    assert streamkv("ask", "who?", "-m", moved, "--max-new-tokens", "2").returncode == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no"), (b"", "empty"), (b"this is text\n" * 99, "text"), (b"\0" * 5000, "not a video")],
    ids=["missing", "empty", "text", "zeros"],
)
def test_bad_videos(
    streamkv: Streamkv, tiny: Path, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    line = one_line_error(streamkv("ingest", path, "-m", tiny), 3)
    assert "bad.mp4" in line
    assert words in line


def test_of_several_videos_a_bad_one_does_not_stop_the_rest(
    streamkv: Streamkv, tiny: Path, tmp_path: Path
) -> None:
    good = [write_clip(tmp_path / f"{n}.mp4", numbered(n * 10), fps=10) for n in (1, 2)]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    result = streamkv("ingest", good[0], bad, good[1], "-m", tiny, "--json")
    assert result.returncode == 3
    kinds = [(line["type"], line.get("status")) for line in json_lines(result.stdout)]
    assert kinds == [("ingest", "done"), ("failed", "failed"), ("ingest", "done")]
    *_, last, name = result.stderr.strip().splitlines()
    assert last == "error: 1 of 3 videos failed"
    assert name.startswith(f"  {bad} is not a video")
    asked = streamkv("ask", "what?", "--max-new-tokens", "3", "--json")
    names = {piece["video"] for piece in json_lines(asked.stdout)[0]["evidence"]}
    assert names == {"1.mp4", "2.mp4"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask", ""], "empty"),
        (["ask", "a <video> b"], "control token"),
        (["ask", "x", "--local", "9", "--blocks", "3"], "--local 9 is more than --blocks 3"),
        (["ask", "x", "--device", "nonsense"], "device nonsense cannot be used"),
    ],
)
def test_bad_questions(streamkv: Streamkv, ingested: Path, words: list[str], message: str) -> None:
    assert message in one_line_error(streamkv(*words), 2)


@pytest.mark.parametrize(
    "words",
    [
        ["ingest"],
        ["ingest", "x.mp4", "--fps", "0"],
        ["ingest", "x.mp4", "-m", "y", "--preset", "z"],
        ["nonsense"],
    ],
)
def test_usage_errors_exit_with_2(streamkv: Streamkv, words: list[str]) -> None:
    result = streamkv(*words)
    assert result.returncode == 2
    assert "--help" in one_line_error(result, 2)


def test_bad_prompt_file_and_bad_model(streamkv: Streamkv, demo_video: Path, tiny: Path) -> None:
    result = streamkv("ingest", demo_video, "-m", tiny, "--init-prompt", "@/nowhere")
    assert "/nowhere" in one_line_error(result, 2)
    result = streamkv("ingest", demo_video, "-m", "./nowhere")
    assert "not a folder with a model" in one_line_error(result, 2)


def test_a_folder_that_is_not_a_store_is_left_alone(
    streamkv: Streamkv, demo_video: Path, tiny: Path, store: Path
) -> None:
    store.mkdir()
    (store / "diary.txt").write_text("dear diary")
    line = one_line_error(streamkv("ingest", demo_video, "-m", tiny), 4)
    assert str(store) in line
    assert [p.name for p in store.iterdir()] == ["diary.txt"]


def test_a_damaged_block_is_named_and_never_used(
    streamkv: Streamkv, ingested: Path, store: Path
) -> None:
    files = sorted(store.glob("videos/*/*.safetensors"))
    damage_last_block(files[2])
    line = one_line_error(streamkv("ask", "who?", "--blocks", "999"), 4)
    assert "scenes.mp4" in line
    assert "segment 2" in line


def test_repair_brings_a_lost_index_back(streamkv: Streamkv, ingested: Path, store: Path) -> None:
    before = streamkv("show", "scenes.mp4", "--json").stdout
    shutil.rmtree(store / "index.lmdb")
    assert "streamkv repair" in one_line_error(streamkv("ls"), 4)
    result = streamkv("repair")
    assert result.returncode == 0
    rebuilt = r"index rebuilt: 1 video, 6 segments, [\d.]+ KiB verified\n"
    assert re.fullmatch(rebuilt, result.stderr)
    assert streamkv("show", "scenes.mp4", "--json").stdout == before
    (store / "videos" / json.loads(before.splitlines()[0])["id"] / "00000004.safetensors").unlink()
    result = streamkv("repair")
    assert result.returncode == 4
    assert "1 video, 5 segments" in result.stderr


def test_prune_deletes_leftovers_only(streamkv: Streamkv, ingested: Path, store: Path) -> None:
    (folder,) = (store / "videos").iterdir()
    leftover = folder / "00000099.safetensors"
    leftover.write_bytes(b"x" * 100)
    assert str(leftover) in streamkv("prune", "--dry-run").stderr
    assert leftover.exists()
    assert "deleted" in streamkv("prune").stderr
    assert not leftover.exists()
    assert streamkv("prune").stderr == "nothing to prune\n"
    assert len(list(folder.glob("*.safetensors"))) == 6


def test_settings_flag_over_environment_over_config_file(
    streamkv: Streamkv,
    demo_video: Path,
    tiny: Path,
    tmp_path: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'model = "{tiny}"\n[ingest]\nfps = 0.25\nkeep = 0.5\n')
    result = streamkv("ingest", demo_video, "--fps", "0.125", "--json")
    assert result.returncode == 0, result.stderr
    video, *_ = json_lines(streamkv("show", "scenes.mp4", "--json").stdout)
    assert (video["profile"]["fps"], video["profile"]["keep"]) == (0.125, 0.5)
    other = str(tmp_path / "elsewhere")
    config.write_text(f'store = "{other}"\n')
    assert json_lines(streamkv("ls", "--json").stdout)[0]["name"] == "scenes.mp4"  # environment
    monkeypatch.delenv("STREAMKV_STORE")
    assert other in one_line_error(streamkv("ls"), 1)
    assert "scenes.mp4" in streamkv("ls", "--store", store).stdout  # the flag before both
    config.write_text("store = ")
    assert "cannot be read" in one_line_error(streamkv("ls"), 2)
    config.write_text("[ingset]\nfps = 1\n")
    assert "[ingset]" in one_line_error(streamkv("ls"), 2)
    config.write_text("blocs = 1\n")
    assert "did you mean blocks?" in one_line_error(streamkv("ls"), 2)
    assert streamkv("ask", "--help").returncode == 0
    config.write_text('[ingest]\nfps = "many"\n')
    assert f"(from {config})" in one_line_error(streamkv("ingest", demo_video, "-m", tiny), 2)
    assert streamkv("ls", "-s", store).returncode == 0


def test_commands_without_a_model_load_no_heavy_library(streamkv: Streamkv, ingested: Path) -> None:
    heavy = {"torch", "transformers", "av", "decord", "lmdb", "numpy"}
    heavy |= {"streamkv_cli.commands.models"}  # no command builds the options of another
    for words, allowed in (
        (["--help"], {"streamkv_cli.commands.models"}),
        (["ingest", "--help"], set()),
        (["ls"], {"lmdb"}),
    ):
        probe = (
            "import sys\nfrom streamkv_cli.app import app\n"
            f"try:\n    app({words!r})\nexcept SystemExit:\n    pass\n"
            f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
        )
        result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
        loaded = set(eval(result.stderr.strip().splitlines()[-1]))
        assert loaded <= allowed, words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(streamkv: Streamkv, command: str) -> None:
    result = streamkv(command, "--help")
    assert result.returncode == 0
    assert f"Example: streamkv {command}" in " ".join(result.stdout.split())


def test_version(streamkv: Streamkv) -> None:
    assert re.fullmatch(r"streamkv \d+\.\d+\.\d+\n", streamkv("--version").stdout)


def test_a_closed_pipe_makes_no_noise(ingested: Path) -> None:
    script = f"{sys.executable} -m streamkv_cli show scenes.mp4 --json | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert json.loads(result.stdout)["type"] == "video"
    assert result.stderr == ""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_one_line_and_the_same_command_goes_on(
    streamkv: Streamkv, tiny: Path, tmp_path: Path, store: Path, sign: signal.Signals
) -> None:
    clip = write_clip(tmp_path / "long.mp4", numbered(600), fps=10)
    words = ["ingest", str(clip), "-m", str(tiny), "--fps", "10", "--max-frames", "4"]
    words += ["--threshold", "1", "--min-frames", "2", "--window", "80"]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamkv_cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(store.glob("videos/*/*.safetensors"))) < 5:
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        time.sleep(0.02)
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "interrupted; what was committed is kept, with a file the same command goes on" in err
    assert "Traceback" not in err
    (partial,) = json_lines(streamkv("ls", "--json").stdout)
    assert not partial["complete"]
    assert partial["segments"] >= 4
    rest = streamkv(*words, "--json")
    assert rest.returncode == 0, rest.stderr
    (done,) = json_lines(rest.stdout)
    assert done["resumed"] == partial["segments"]
    assert done["segments"] == 300


def test_a_video_from_a_pipe_is_not_the_file_named_dash(
    process: Streamkv, streamkv: Streamkv, tiny: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "other.mp4", numbered(20), fps=10).rename(tmp_path / "-")
    piped = write_clip(tmp_path / "piped.mkv", numbered(10), fps=10)
    with piped.open("rb") as stdin:
        result = process("ingest", "/dev/stdin", "-m", tiny, "--json", cwd=tmp_path, stdin=stdin)
    (done,) = json_lines(result.stdout)
    assert (done["status"], done["name"], done["seconds"]) == ("done", "standard input", 2)
    named = streamkv("ingest", tmp_path / "-", "-m", tiny, "--json")
    assert json_lines(named.stdout)[0]["status"] == "done"


def test_an_mp4_that_a_pipe_cannot_carry_says_so(
    process: Streamkv, tiny: Path, demo_video: Path
) -> None:
    pipe = subprocess.Popen(["cat", str(demo_video)], stdout=subprocess.PIPE)
    line = one_line_error(process("ingest", "pipe:0", "-m", tiny, stdin=pipe.stdout), 3)
    pipe.communicate()
    assert "index at the end" in line


def test_a_file_url_is_the_file(streamkv: Streamkv, ingested: Path, tiny: Path) -> None:
    result = streamkv("ingest", ingested.as_uri(), "-m", tiny, "--fps", "1", "--json")
    assert json_lines(result.stdout)[0]["status"] == "already"


def test_a_password_in_a_url_is_never_shown(streamkv: Streamkv, tiny: Path, store: Path) -> None:
    result = streamkv(
        "ingest", "http://user:secret@127.0.0.1:9/a.mp4", "x.mp4", "-m", tiny, "--json"
    )
    assert result.returncode == 3
    assert "secret" not in result.stdout + result.stderr
    assert "127.0.0.1:9/a.mp4" in result.stderr


def test_a_renamed_video_is_the_same_one(
    streamkv: Streamkv, ingested: Path, tiny: Path, tmp_path: Path
) -> None:
    renamed = Path(shutil.copy(ingested, tmp_path / "renamed.mp4"))
    result = streamkv("ingest", renamed, "-m", tiny, "--fps", "1")
    assert "renamed.mp4 is already ingested as scenes.mp4" in result.stderr


def test_names_with_control_characters_stay_on_their_line(
    streamkv: Streamkv, tiny: Path, tmp_path: Path
) -> None:
    odd = write_clip(tmp_path / "a.mp4", numbered(5), fps=10).rename(tmp_path / "a\tb\nc\x1b.mp4")
    assert streamkv("ingest", odd, "-m", tiny, "-q").returncode == 0
    _, row = streamkv("ls").stdout.strip().splitlines()
    assert row.split("\t")[1] == r"a\tb\nc\x1b.mp4"
    assert json_lines(streamkv("ls", "--json").stdout)[0]["name"] == odd.name
