"""Settings and whence they come, the doctor, completion, and what a terminal is shown."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from streamkv_cli.app import COMMANDS, app
from streamkv_cli.parsing import options_of
from tests.clips import numbered, write_clip
from tests.conftest import Streamkv


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def setting(text: str, command: str, option: str) -> tuple[object, str, str]:
    (found,) = (
        line
        for line in json_lines(text)
        if (line["type"], line.get("command"), line.get("option")) == ("setting", command, option)
    )
    return found["value"], found["source"], found["where"]


def test_config_shows_what_holds_and_whence(
    streamkv: Streamkv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('device = "cpu"\nkeep = 0.3\n[ingest]\nmax-frames = 8\nfps = 3\n')
    monkeypatch.setenv("STREAMKV_FPS", "2")
    monkeypatch.setenv("STREAMKV_KEEP", "0.4")
    shown = streamkv("config", "ingest", "--keep", "0.5", "--json")
    assert shown.returncode == 0, shown.stderr
    assert setting(shown.stdout, "ingest", "keep") == (0.5, "flag", "--keep")
    assert setting(shown.stdout, "ingest", "fps") == (2.0, "environment", "STREAMKV_FPS")
    assert setting(shown.stdout, "ingest", "max_frames") == (8, "file", f"{config} [ingest]")
    assert setting(shown.stdout, "ingest", "device") == ("cpu", "file", str(config))
    assert setting(shown.stdout, "ingest", "decoder") == ("auto", "default", "")
    everything = streamkv("config")
    assert re.search(r"^device\tcpu\t.*config.toml\t.*ingest, ask", everything.stdout, re.MULTILINE)
    assert f"config file: {config}\n" in everything.stderr
    monkeypatch.setenv("STREAMKV_FPS", "-1")
    assert "-1 (cannot be used)" in streamkv("config", "ingest").stdout
    assert "no such command nothing" in streamkv("config", "nothing").stderr


def test_every_command_speaks_json_and_can_be_quiet() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert {"json", "quiet"} <= set(options_of(command)), name


def test_a_broken_config_file_is_named_and_breaks_no_help(
    streamkv: Streamkv, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("[ingest]\nmax-frame = 8\n")
    for words in (["config"], ["ls"], ["ask", "who?"]):
        result = streamkv(*words)
        assert result.returncode == 2
        assert "max-frame in [ingest]" in result.stderr
        assert "did you mean max_frames?" in result.stderr
    for command in COMMANDS:
        assert streamkv(command, "--help").returncode == 0
    (tmp_path / "config.toml").write_text("not toml")
    assert streamkv("--help").returncode == 0


def test_the_doctor_looks_at_everything(
    streamkv: Streamkv, tiny: Path, tmp_path: Path, store: Path
) -> None:
    result = streamkv("doctor", "-m", tiny, "--json")
    found = {line["name"]: line for line in json_lines(result.stdout)}
    assert result.returncode == 0, result.stdout
    assert list(found) == [
        "versions",
        "config",
        "device",
        "decord",
        "pyav",
        "store",
        "disk",
        "model",
    ]
    assert "torch" in found["versions"]["detail"]
    assert "decodes" in found["pyav"]["detail"]
    assert "llava_onevision" in found["model"]["detail"]
    assert not store.exists()


def test_the_doctor_names_what_is_wrong(streamkv: Streamkv, tmp_path: Path, store: Path) -> None:
    (tmp_path / "config.toml").write_text("fsp = 1\n")
    store.mkdir()
    (store / "diary.txt").touch()
    words = ("doctor", "--model", tmp_path / "nowhere", "--device", "toaster")
    result = streamkv(*words, "--json")
    assert result.returncode == 2
    wrong = {line["name"]: line for line in json_lines(result.stdout) if line["status"] == "fail"}
    assert set(wrong) == {"config", "device", "store", "model"}
    assert all(line["remedy"] for line in wrong.values())
    assert "did you mean fps?" in wrong["config"]["remedy"]
    assert wrong["device"]["detail"] == "device toaster cannot be used: there is no such kind"
    lines = streamkv(*words).stdout.splitlines()
    assert sum(line.startswith("fail") for line in lines) == 4


@pytest.mark.parametrize("words", ["show b", "ask who --video b", "rm a.mp4 b"])
def test_names_of_videos_complete_in_the_shell(
    streamkv: Streamkv, tiny: Path, tmp_path: Path, words: str
) -> None:
    clips = [write_clip(tmp_path / f"{n}.mp4", numbered(4), fps=2) for n in ("a", "b")]
    clips[1].write_bytes(clips[1].read_bytes() + b"\0")
    assert streamkv("ingest", *clips, "-m", tiny, "-q").returncode == 0

    def completed(line: str) -> str:
        environment = {
            **os.environ,
            "_STREAMKV_COMPLETE": "complete_bash",
            "COMP_WORDS": f"streamkv {line}",
            "COMP_CWORD": str(len(line.split())),
        }
        script = "import sys; sys.argv[0] = 'streamkv'; from streamkv_cli.app import app; app()"
        return subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True
        ).stdout

    assert completed(words) == "b.mp4\n"


def on_terminal(words: list[str], columns: int) -> str:
    """What a command shows on a terminal of so many columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": str(columns), "TERM": "xterm"}
        os.execv(sys.executable, [sys.executable, "-m", "streamkv_cli", *words])
    shown = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, shown
    return shown.decode()


def test_a_narrow_terminal_still_has_bars(store: Path, tiny: Path, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{n}.mp4", numbered(n * 9)[-9:], fps=2) for n in (1, 2)]
    shown = on_terminal(["ingest", *map(str, clips), "-m", str(tiny)], 40)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"all +━", text)
    assert "0 / 2" in text
    assert re.search(r"1\.mp4 +[━╸╺]{4,}", text)
    assert re.search("load.*━", text)
    assert not any(len(line) > 40 for line in re.split(r"[\r\n]+", text) if "━" in line)


def test_colours_can_be_switched_off(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    words = ["config", "ls"]
    assert "\x1b[1" not in on_terminal(words, 80)
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[1" in on_terminal(words, 80)


@pytest.mark.parametrize("words", ["config --quiet", "doctor --device cpu", "--help"])
def test_a_closed_pipe_makes_no_noise(store: Path, words: str) -> None:
    script = f"{sys.executable} -m streamkv_cli {words} | head -c 1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert len(result.stdout) == 1
    assert result.stderr == ""
