"""Models by hub id, from a hub on this machine: what is served, refused, cut short or offline."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "c0ffee" + "0" * 34
WEIGHTS = "model.safetensors"

Run = Callable[..., subprocess.CompletedProcess[str]]


class _Handler(BaseHTTPRequestHandler):
    """A hub of four models: whole, gated, with pickled weights only, and one that breaks off."""

    folder: Path

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) > 3:
            self._api("/".join(parts[2:4]), parts[4], parts[5:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[4])
        else:
            self._refuse(404, "RepoNotFound")

    def _files(self, model: str) -> dict[str, bytes]:
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        if model == "some/pickled":
            files["pytorch_model.bin"] = files.pop(WEIGHTS)
        return files

    def _api(self, model: str, what: str, rest: list[str]) -> None:
        if model == "some/gated":
            self._refuse(403, "GatedRepo")
        elif model not in ("some/whole", "some/pickled", "some/broken"):
            self._refuse(404, "RepoNotFound")
        elif what == "revision" and rest[0] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif what == "revision":
            siblings = [{"rfilename": name} for name in self._files(model)]
            self._json({"id": model, "sha": COMMIT, "siblings": siblings, "private": False})
        else:
            self._json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": _digest(data)}
                    for name, data in self._files(model).items()
                ]
            )

    def _file(self, model: str, name: str) -> None:
        data = self._files(model).get(name)
        if data is None:
            self._refuse(404, "EntryNotFound")
            return
        self.send_response(200)
        self.send_header("ETag", f'"{_digest(data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            cut = model == "some/broken" and name == WEIGHTS
            self.wfile.write(data[: len(data) // 2] if cut else data)

    def _json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture(scope="module")
def hub(tiny: Path) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"folder": tiny})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(hub: str, store: Path, tmp_path: Path) -> Run:
    def command(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {
            "HF_ENDPOINT": hub,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        }
        hidden = {"HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"}
        inherited = {key: value for key, value in os.environ.items() if key not in hidden}
        return subprocess.run(
            [sys.executable, "-m", "streamkv_cli", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=240,
            env={**inherited, **known, **environment},
        )

    return command


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Warning")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_model_is_downloaded_once_and_its_revision_recorded(run: Run, demo_video: Path) -> None:
    done = run("ingest", demo_video, "--model", "some/whole", "--fps", 0.1)
    assert done.returncode == 0, done.stderr
    (listed,) = run("models", "some/whole", "--json", HF_HUB_OFFLINE="1").stdout.splitlines()
    assert json.loads(listed)["revision"] == COMMIT
    assert json.loads(listed)["state"] == "whole"
    shown = json.loads(run("show", demo_video.name, "--json").stdout.splitlines()[0])
    assert shown["notes"]["revision"] == COMMIT
    # Later, without a network, the commit that was ingested with is found by itself.
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    asked = run("ask", "who?", "--max-new-tokens", 2, **offline)
    assert asked.returncode == 0, asked.stderr
    cached = run("models", "--json", **offline).stdout.splitlines()
    models = [json.loads(line) for line in cached if json.loads(line)["type"] == "model"]
    assert ("some/whole", COMMIT) in [(model["model"], model["revision"]) for model in models]


def test_what_the_hub_refuses_is_one_line(run: Run, demo_video: Path) -> None:
    ask_for = lambda *words: one_line(run("ingest", demo_video, "--model", *words))  # noqa: E731
    assert "some/gated is gated on the hub; accept its terms" in ask_for("some/gated")
    assert "there is no model no/one" in ask_for("no/one")
    missing = ask_for("some/whole", "--revision", "v9")
    assert "some/whole has no revision v9; check --revision" in missing
    assert "only pickled weights, which are never loaded" in ask_for("some/pickled")


def test_a_broken_download_is_told_and_never_taken_for_whole(run: Run, demo_video: Path) -> None:
    words = ("ingest", demo_video, "--model", "some/broken")
    assert "some/broken cannot be downloaded" in one_line(run(*words))
    # What is there by now lacks the weights.
    assert "some/broken is not on this machine, or only in part" in one_line(
        run(*words, HF_HUB_OFFLINE="1")
    )
    listed = json.loads(run("models", "some/broken", "--json", HF_HUB_OFFLINE="1").stdout)
    assert listed["state"] == "not downloaded"


def test_only_the_configuration_is_fetched_to_tell_what_a_model_needs(
    run: Run, tmp_path: Path
) -> None:
    listed = json.loads(run("models", "some/whole", "--json").stdout)
    assert (listed["state"], listed["block_tokens"]) == ("not downloaded", 4)
    assert not list((tmp_path / "hf").rglob("*.safetensors"))
