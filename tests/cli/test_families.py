"""Every family through the command line: ingested, stored, asked, and as stock answers."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from examples.tiny_checkpoint import write_tiny_checkpoint
from examples.tiny_families import FAMILIES as TINY
from streamkv_cli.model.families import FAMILIES
from streamkv_cli.video import open_video
from tests.clips import numbered, write_clip
from tests.model.pair import Pair

FPS = 0.27
"""13 frames of the clip, an odd number, at times that are no whole seconds."""

Streamkv = Callable[..., subprocess.CompletedProcess[str]]
DYNAMIC = [name for name, family in FAMILIES.items() if family.frame_tokens]


@pytest.fixture(scope="module", params=TINY)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = {"heads": 6, "kv_heads": 2, "hidden": 96}
    return write_tiny_checkpoint(tmp_path_factory.mktemp(family), family=family, seed=7, **shape)


@pytest.fixture(scope="module")
def frames(demo_video: Path) -> list[np.ndarray]:
    with open_video(demo_video, fps=FPS, decoder="pyav") as reader:
        return [frame.pixels for frame in reader]


def test_all_families_have_a_tiny_checkpoint() -> None:
    assert set(TINY) == set(FAMILIES)


def test_an_answer_with_nothing_lost_is_the_stock_models(
    streamkv: Streamkv, family: str, folder: Path, demo_video: Path, frames: list[np.ndarray]
) -> None:
    done = streamkv(
        "ingest",
        demo_video,
        "--model",
        folder,
        *("--fps", FPS, "--keep", 1, "--window", 10**6, "--init-prompt", "Watch.", "--json"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["frames"] == len(frames) == 13
    blocks = -(-13 // FAMILIES[family].frames)
    assert told["blocks_kept"] == told["blocks_seen"] == 3 * blocks
    question = "What colour is the circle?"
    asked = streamkv("ask", question, "--blocks", 1000, "--max-new-tokens", 24, "--json")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    pair = Pair(folder, frames, FPS, ("Watch.", question))
    inputs = pair.inputs()
    stock = pair.stock.generate(**inputs, max_new_tokens=24, do_sample=False)
    assert answer["tokens"] == stock[0, inputs["input_ids"].shape[1] :].tolist()
    assert len(set(answer["tokens"])) > 1
    assert answer["blocks_fetched"] == 3 * blocks


def test_blocks_are_compressed_found_and_placed_in_time(
    streamkv: Streamkv, family: str, folder: Path, demo_video: Path
) -> None:
    each = FAMILIES[family].frames
    done = streamkv("ingest", demo_video, "--model", folder, "--fps", 1, "--keep", 0.5, "--json")
    assert done.returncode == 0, done.stderr
    shown = streamkv("show", demo_video.name, "--json").stdout.splitlines()
    segments = [json.loads(line) for line in shown][1:]
    assert sum(segment["frames"] for segment in segments) == 48
    assert sum(segment["blocks"] for segment in segments) == 48 // each
    assert (segments[0]["start"], segments[-1]["end"]) == (0, 48)
    asked = streamkv("ask", "who?", "--blocks", 4, "--local", 0, "--max-new-tokens", 2, "--json")
    answer = json.loads(asked.stdout)
    assert sum(answer["budgets"]) == 12
    assert all((piece["end"] - piece["start"]) % each == 0 for piece in answer["evidence"])


def test_an_interrupted_ingest_ends_with_the_same_bytes(
    streamkv: Streamkv,
    family: str,
    folder: Path,
    demo_video: Path,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["ingest", demo_video, "--model", folder, "--fps", 1, "--keep", 0.5]
    # So small a window that it holds less than what is stored, and cuts through segments.
    words += ["--window", 600 if family in DYNAMIC else 60]
    assert streamkv(*words).returncode == 0
    whole = {path.name: path.read_bytes() for path in store.glob("videos/*/*.safetensors")}
    monkeypatch.setenv("STREAMKV_STORE", str(tmp_path / "again"))
    from streamkv_cli.pipeline import ingest

    finished = ingest.compress_segment

    def stop(segment, *args):  # type: ignore[no-untyped-def]
        if segment.number == 2:
            raise KeyboardInterrupt
        return finished(segment, *args)

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "compress_segment", stop)
        assert streamkv(*words).returncode == 130
    assert "going on after" in streamkv(*words).stderr
    again = {p.name: p.read_bytes() for p in (tmp_path / "again").glob("videos/*/*.safetensors")}
    assert again == whole


@pytest.mark.parametrize("name", DYNAMIC)
def test_the_budget_of_a_frame_is_kept_and_part_of_the_profile(
    streamkv: Streamkv, name: str, demo_video: Path, tmp_path: Path
) -> None:
    folder = write_tiny_checkpoint(tmp_path / name, family=name)
    words = ["ingest", demo_video, "--model", folder, "--fps", 0.2]
    assert streamkv(*words, "--frame-tokens", 20, "--json").returncode == 0
    profile = json.loads(streamkv("show", demo_video.name, "--json").stdout.splitlines()[0])
    assert profile["profile"]["frame_tokens"] == 20
    layout = profile["notes"]["layout"]
    assert layout["rows"] * layout["columns"] <= 20
    refused = streamkv(*words)
    assert refused.returncode == 4
    assert "frame tokens 20 there, 256 now" in refused.stderr


def test_a_family_of_one_size_has_no_budget(
    streamkv: Streamkv, tiny: Path, demo_video: Path
) -> None:
    refused = streamkv("ingest", demo_video, "--model", tiny, "--frame-tokens", 20)
    assert refused.returncode == 2
    assert "leave out --frame-tokens" in refused.stderr


@pytest.mark.parametrize("name", DYNAMIC)
def test_videos_of_several_sizes_are_asked_together(
    streamkv: Streamkv, name: str, tmp_path: Path
) -> None:
    """Their blocks differ in tokens; they are found alike and stand one after another."""
    folder = write_tiny_checkpoint(tmp_path / name, family=name)
    wide, tall = tmp_path / "wide.mp4", tmp_path / "tall.mp4"
    write_clip(wide, numbered(20, 192, 64), fps=10)
    write_clip(tall, numbered(20, 64, 192), fps=10)
    done = streamkv("ingest", wide, tall, "--model", folder, "--fps", 2, "--keep", 1)
    assert done.returncode == 0, done.stderr
    layouts = [
        json.loads(streamkv("show", path.name, "--json").stdout.splitlines()[0])["notes"]["layout"]
        for path in (wide, tall)
    ]
    assert layouts[0]["rows"] < layouts[0]["columns"]
    assert (layouts[1]["rows"], layouts[1]["columns"]) == (
        layouts[0]["columns"],
        layouts[0]["rows"],
    )
    asked = streamkv("ask", "who?", "--blocks", 100, "--max-new-tokens", 4, "--json")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout.splitlines()[-1])
    assert {piece["video"] for piece in answer["evidence"]} == {"wide.mp4", "tall.mp4"}
    assert answer["bytes_fetched"] == answer["bytes_stored"]
