"""What decoding holds does not grow while nobody takes the pictures."""

import time
from pathlib import Path

import pytest

from streamkv_cli.video import open_video
from tests.clips import numbered, write_clip

STATUS = Path("/proc/self/status")


def anonymous_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no RssAnon")


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_slow_consumer_costs_no_memory(tmp_path: Path, decoder: str) -> None:
    # A long group of pictures: that is what decord runs ahead through.
    pictures = numbered(30, 1280, 720) * 60
    clip = write_clip(tmp_path / "long.mp4", pictures, fps=30, options={"g": "250"})
    with open_video(clip, fps=2, decoder=decoder) as reader:  # type: ignore[arg-type]
        levels = []
        for frame in reader:
            time.sleep(0.1)
            if frame.index in (8, 90):
                levels.append(anonymous_mib(reader._child.pid))
    early, late = levels
    assert late - early < 60
