"""`streamkv bench` measures what it says, and leaves nothing behind."""

import tempfile
from pathlib import Path

import pytest

from tests.cli.test_commands import json_lines, one_line_error
from tests.conftest import Streamkv

FIGURES = {
    "start of --help",
    "start of ls",
    "start of ask, no model",
    "ingest",
    *(f"ingest: {s}" for s in ("decode", "vision", "language model", "thumbnails", "write")),
    *(f"an hour on disk, {codec}" for codec in ("raw", "bf16", "int8", "int4")),
    "fetch, warm page cache",
    "fetch, cold page cache",
    "first token, warm page cache",
    "first token, cold page cache",
}


def test_every_figure_stands_beside_its_peer_and_its_bound(
    streamkv: Streamkv,
    demo_video: Path,
    tiny: Path,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    result = streamkv("bench", demo_video, "-m", tiny, "--seconds", "16", "--rounds", "2", "--json")
    assert result.returncode == 0, result.stderr
    found = {line["name"]: line for line in json_lines(result.stdout)}
    assert set(found) == FIGURES
    for name, figure in found.items():
        assert all(value > 0 for value in figure["ours"]), name
        assert ("frames_per_second" in figure) == name.startswith("ingest")
        assert len(figure["ours"]) == (1 if figure["unit"] == "bytes/h" else 2)
    ingest = found["ingest"]
    assert ingest["frames"] == 8  # of 16 s at one in two seconds
    assert ingest["frames_per_second"] == pytest.approx(8 / (sum(ingest["ours"]) / 2))
    for stage in ("vision", "language model"):
        assert len(found[f"ingest: {stage}"]["bound"]) == 2
    middle = sorted(p / o for p, o in zip(ingest["peer"], ingest["ours"], strict=True))
    assert ingest["gain"] == pytest.approx(sum(middle) / 2)
    for name in ("fetch, warm page cache", "first token, cold page cache"):
        assert found[name]["gain"] > 0
        assert found[name]["share"] > 0
    assert found["fetch, warm page cache"]["bytes"] == found["fetch, cold page cache"]["bytes"] > 0
    sizes = [found[f"an hour on disk, {codec}"]["ours"][0] for codec in ("raw", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)
    assert [found[f"an hour on disk, {c}"]["measured"] for c in ("raw", "int8")] == [False, True]
    assert set(tmp_path.iterdir()) == before
    assert not store.exists()


def test_what_cannot_be_measured_is_one_line(
    streamkv: Streamkv, demo_video: Path, tiny: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(demo_video.read_bytes()[:2000])
    one_line_error(streamkv("bench", broken, "-m", tiny, "--rounds", "1", "-q"), 3)
    line = one_line_error(streamkv("bench", tmp_path / "no.mp4", "-m", tiny, "-q"), 3)
    assert "does not exist" in line
    short = streamkv("bench", demo_video, "-m", tiny, "--seconds", "1", "--rounds", "1", "-q")
    assert "less than two sampled frames" in one_line_error(short, 3)
