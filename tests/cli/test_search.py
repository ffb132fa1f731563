"""Search finds the seconds that show what is looked for, and says nothing where nothing does."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from store import Store
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.bounds import Bounds
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.search import frame_scores, search, word_queries
from tests.conftest import ROOT, Streamkv

RING = "the ring on the plain brown ground"
"""In examples/demo.mp4 it is shown from 59.4 to 68.4 and from 144.9 to 161.7 s."""
SHOWN = [(59.4, 68.4), (144.9, 161.7)]


@pytest.fixture
def film(streamkv: Streamkv) -> str:
    """The demo's video and another one, in the store with the demo's model."""
    videos = [ROOT / "examples" / "demo.mp4", ROOT / "tests" / "data" / "scenes.mp4"]
    result = streamkv("ingest", *videos, "--model", "demo", "-q")
    assert result.returncode == 0, result.stderr
    return "demo.mp4"


def hits(streamkv: Streamkv, *words: str) -> list[dict]:
    result = streamkv("search", *words, "--json")
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(line["type"] == "hit" for line in found)
    return found


def test_search(streamkv: Streamkv, film: str, store: Path) -> None:
    found = hits(streamkv, RING)
    assert found[0]["video"] == film
    for hit, (start, end) in zip(sorted(found[:2], key=lambda h: h["start"]), SHOWN, strict=True):
        assert start - 2 <= hit["start"] < hit["end"] <= end + 2
    assert [hit["score"] for hit in found] == sorted((h["score"] for h in found), reverse=True)
    assert all(hit["score"] >= 1 for hit in found)
    spans = [(hit["video"], hit["start"], hit["end"]) for hit in found]
    assert len(set(spans)) == len(spans) <= 10
    coarse = hits(streamkv, RING, "--exact-frames", "0")[0]  # normalised by summary blocks alone
    # The ring was shown twice, and is as well to be seen both times.
    (same,) = (hit for hit in found[:2] if hit["segment"] == coarse["segment"])
    assert coarse == same | {"score": pytest.approx(same["score"], abs=0.2)}
    assert hits(streamkv, RING, "-n", "1") == found[:1]
    table = streamkv("search", RING, "-n", "1").stdout.splitlines()
    assert table[0].split("\t") == ["video", "start", "end", "score"]
    assert table[1].split("\t")[0] == film

    for bounds in (["--to", "2:00"], ["--at", "2:00"], ["--from", "3:00"]):
        for hit in hits(streamkv, RING, *bounds, "--min-score", "-9"):
            assert hit["end"] <= 122 or hit["start"] >= 180
    nothing = streamkv("search", RING, "--min-score", "9")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "nothing scores 9 or more" in nothing.stderr
    assert streamkv("search", "a <video> b").returncode == 2

    # The arithmetic, on the same store: means of z-scores, a summary block where a frame is gone.
    asker = Asker(
        load_model(find_checkpoint("demo"), choose_placement("cpu")), preset("default"), Sampling()
    )
    with Store.open(store) as opened:
        catalog = Catalog(opened, opened.videos())
        frames = frame_scores(catalog, asker, word_queries(asker, catalog, RING), 10)
        everything = search(catalog, asker, RING, 10**6, -np.inf)
        for record, _ in opened.videos():
            for segment in opened.segments(record.video_id):
                mine = [
                    h for h in everything if (h.video, h.segment) == (record.name, segment.number)
                ]
                covered = sorted((h.start, h.end) for h in mine)
                # Every frame of a segment is in just one stretch.
                assert covered[0][0] == segment.start
                assert covered[-1][1] == segment.end
                assert all(a[1] == b[0] for a, b in pairwise(covered))
        assert len(frames.scores) == sum(
            len(s.spans) for r, _ in opened.videos() for s in opened.segments(r.video_id)
        )
        early = Catalog(opened, opened.videos(), Bounds(end=100.0))
        assert all(h.end <= 102 for h in search(early, asker, RING, 10**6, -np.inf))
        assert torch.isfinite(torch.tensor(frames.scores)).all()
