"""The sessions of the documentation are real: they are run again, in order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.tiny_checkpoint import write_tiny_checkpoint
from streamkv_cli.app import COMMANDS, example
from tests.clips import numbered, write_clip
from tests.conftest import ROOT


def sessions(path: Path) -> list[tuple[str, list[str]]]:
    """Commands of a page's console blocks with the lines shown under them."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", path.read_text(), flags=re.DOTALL):
        for command, shown in re.findall(
            r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE
        ):
            found.append((command, shown.rstrip().splitlines()))
    return found


def masked(line: str) -> str:
    """Numbers differ from machine to machine; words and layout do not."""
    line = re.sub(r"\d+x\d+|\d+(\.\d+)?", "#", line)
    line = re.sub(r"(KiB|MiB|\bB\b)", "BYTES", line)
    line = re.sub(r"#( #)+", "#", line)
    return re.sub(r"\s+", " ", line).strip()


@pytest.mark.timeout(1200)
def test_sessions_of_commands_md(tmp_path: Path, demo_video: Path) -> None:
    write_tiny_checkpoint(tmp_path / "tiny")
    shutil.copy(demo_video, tmp_path)
    (tmp_path / "films" / "deep").mkdir(parents=True)
    write_clip(tmp_path / "films" / "deep" / "again.mp4", numbered(20))
    environment = clean_environment(tmp_path) | {
        "STREAMKV_CONFIG": "none.toml",
        "STREAMKV_DTYPE": "float32",
    }
    shown_sessions = sessions(ROOT / "docs" / "commands.md")
    assert len(shown_sessions) >= 8
    for command, shown in shown_sessions:
        program, *words = shlex.split(command)
        assert program == "streamkv"
        result = subprocess.run(
            [sys.executable, "-m", "streamkv_cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
        lines = result.stdout.strip().splitlines()
        # A slow machine also shows how far it has come.
        printed = [masked(line) for line in lines if "x real time," not in line]
        expected = [masked(line) for line in shown]
        if words[0] == "ask" and result.returncode == 0:
            # What a random model says is noise, and how much evidence there is follows from it.
            assert printed[0] == expected[0]
            assert len(printed[1]) > 0
            assert set(printed[2:]) == set(expected[2:])
        else:
            assert printed == expected, command


@pytest.mark.timeout(1200)
def test_examples_of_every_help_run(tmp_path: Path, demo_video: Path) -> None:
    """What `--help` shows as an example works as it stands, in the order of the commands."""
    (tmp_path / "films").mkdir()
    shutil.copy(demo_video, tmp_path / "talk.mp4")
    # Other bytes, so that it is another video, and something is left when one is removed.
    (tmp_path / "films" / "other.mp4").write_bytes(demo_video.read_bytes() + b"\0")
    command = tmp_path / "streamkv"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamkv_cli "$@"\n')
    command.chmod(0o755)
    environment = clean_environment(tmp_path)
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    for name in COMMANDS:
        line = example(name).removeprefix("Example: ")
        assert line.startswith(f"streamkv {name}")
        if "jq" in line and shutil.which("jq") is None:
            line = line.split("|")[0]
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        # A search may find nothing in a film of coloured shapes, which is exit code 1.
        allowed = (0, 1) if name == "search" else (0,)
        assert result.returncode in allowed, f"{line}: {result.stderr}"


def clean_environment(folder: Path) -> dict[str, str]:
    """An environment without settings of this machine's user."""
    others = {k: v for k, v in os.environ.items() if not k.startswith("STREAMKV_")}
    config = str(folder / "none.toml")
    return {**others, "STREAMKV_STORE": "kv", "STREAMKV_CONFIG": config}


def anchors(page: Path) -> set[str]:
    """What links may name in a page, as its headings give it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(found), f"{page.name}: {target}"
