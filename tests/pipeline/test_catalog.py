"""What a question may draw from: the past as it was, stretches of time, many videos at once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from store import BlockSpan, Geometry, SegmentRecord, Store, VideoRecord
from streamkv_cli.errors import NothingFoundError
from streamkv_cli.method.presets import Method, preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Answer, Asker, Sampling
from streamkv_cli.pipeline.bounds import Bounds
from streamkv_cli.pipeline.catalog import Catalog, Shelf
from streamkv_cli.pipeline.ingest import ResumePoint, ingest_video
from streamkv_cli.pipeline.profile import ingest_profile, model_profile
from streamkv_cli.video import Frame

INIT, QUESTION = "Watch.", "What colour is the circle?"
SCENE = 8
"""Frames, and seconds, of one scene; also the size of a vision batch on a CPU."""


@pytest.fixture(scope="module")
def model(tiny: Path) -> VideoLLM:
    return load_model(find_checkpoint(str(tiny)), choose_placement("cpu"))


def pictures(colours: Sequence[int]) -> Iterator[Frame]:
    """One scene a colour, at 1 frame a second: a bar that moves over a plain ground."""
    for index in range(len(colours) * SCENE):
        grey = colours[index // SCENE]
        pixels = np.full((24, 24, 3), (grey, 255 - grey, grey * 3 % 256), dtype=np.uint8)
        pixels[:, 2 * (index % SCENE) : 2 * (index % SCENE) + 4] = 255 - grey
        yield Frame(index, float(index), pixels)


class Reader:
    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.info = SimpleNamespace(name="made.mp4")

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def remember(
    path: Path,
    model: VideoLLM,
    tiny: Path,
    colours: Sequence[int],
    method: Method,
    video_id: str = "0123456789abcdef",
) -> None:
    """Ingest a made video of some scenes."""
    shape = model.shape
    profile = model_profile(find_checkpoint(str(tiny)), "float32", INIT)
    record = VideoRecord(
        video_id,
        f"{video_id[:2]}.mp4",
        "made",
        video_id,
        ingest_profile(profile, method, 1.0, "What matters?", "raw"),
        Geometry(shape.layers, shape.kv_heads, 4, shape.head_dim, "float32"),
        "2026-01-01T00:00:00+00:00",
        {},
    )
    reader: Any = Reader(list(pictures(colours)))
    with Store.open(path, create=True) as store:
        ingest_video(
            reader,
            record,
            store,
            model,
            model.lay_out(24, 24, 1.0),
            method,
            fps=1.0,
            duration=None,
            init_prompt=INIT,
            guidance_prompt="What matters?",
            resume=ResumePoint(),
        )


def ask(
    path: Path, model: VideoLLM, method: Method, bounds: Bounds | None = None, frames: int = 10**6
) -> tuple[Answer, Catalog]:
    with Store.open(path) as store:
        catalog = Catalog(store, store.videos(), bounds, frames)
        return Asker(model, method, Sampling(max_new_tokens=12)).answer(catalog, QUESTION), catalog


LOSSY = preset("default", keep=0.5, blocks=4, local=2, max_seconds=float(SCENE))
LOSSLESS = preset("default", keep=1.0, blocks=4, local=2)


@pytest.mark.parametrize(("method", "known"), [(LOSSY, 16), (LOSSLESS, 20)])
def test_what_is_shown_later_has_no_influence_on_an_answer_as_of_now(
    tmp_path: Path, model: VideoLLM, tiny: Path, method: Method, known: int
) -> None:
    """Asked 4 s into the third scene, of videos that contradict one another from then on."""
    past, futures = [40, 200, 90], [(90, 10, 250), (250, 90), (10, 10, 10, 200)]
    seen = []
    for number, future in enumerate(futures):
        path = tmp_path / str(number)
        remember(path, model, tiny, [*past, *future], method)
        with Store.open(path) as store:  # the third scene is not over at 20 s
            assert any(s.start < 20 < s.end for s in store.segments("0123456789abcdef"))
        answer, catalog = ask(path, model, method, Bounds(at=20.0))
        assert catalog.until == [known]
        assert all(piece.end <= known for piece in answer.evidence)
        seen.append((answer.tokens, answer.evidence, answer.budgets, answer.blocks_stored))
        assert ask(path, model, method)[0].blocks_stored > answer.blocks_stored
    assert seen[0] == seen[1] == seen[2]
    if method is LOSSY:  # just what a video gives that ended there
        remember(tmp_path / "ended", model, tiny, past[:2], method)
        answer, _ = ask(tmp_path / "ended", model, method)
        assert (answer.tokens, answer.evidence, answer.budgets, answer.blocks_stored) == seen[0]


@pytest.mark.parametrize("frames", [0, 10**6])
def test_evidence_is_restricted_to_the_seconds_asked_for(
    tmp_path: Path, model: VideoLLM, tiny: Path, frames: int
) -> None:
    remember(tmp_path, model, tiny, [40, 200, 90, 10, 250], LOSSY)
    bounds = Bounds(start=10.0, end=26.5)
    answer, _ = ask(tmp_path, model, LOSSY, bounds, frames)
    assert answer.evidence
    assert all(10 <= piece.start < piece.end <= 27 for piece in answer.evidence)
    with Store.open(tmp_path) as store:
        whole = Catalog(store, store.videos(), bounds, frames).blocks_of(0, np.arange(5))
    assert set(whole.segment.tolist()) == {1, 2, 3}
    # Only the scene from 16 to 24 s lies inside with all that its summary block stands for.
    assert whole.segment[whole.summary].tolist() == [2]


def test_seconds_of_which_nothing_is_stored(tmp_path: Path, model: VideoLLM, tiny: Path) -> None:
    remember(tmp_path, model, tiny, [40], LOSSY)
    for bounds in (Bounds(start=100), Bounds(at=3), Bounds(end=0)):
        with pytest.raises(NothingFoundError, match="nothing of 01"):
            ask(tmp_path, model, LOSSY, bounds)


@pytest.mark.parametrize(
    ("bounds", "lossless", "expected"),
    [
        (Bounds(), False, [1, 1, 1, 1]),
        (Bounds(start=2), False, [0, 1, 1, 0]),
        (Bounds(end=4), False, [1, 1, 0, 0]),
        (Bounds(end=5), False, [1, 1, 0, 0]),  # the last block is an average of 4 to 8 s
        (Bounds(end=3), False, [1, 1, 0, 0]),  # a picture shown at 2 s
        (Bounds(at=8), False, [1, 1, 1, 1]),
        (Bounds(at=7.5), False, [0, 0, 0, 0]),
        (Bounds(at=4), True, [1, 1, 0, 0]),
        (Bounds(start=0, end=8, at=9), False, [1, 1, 1, 1]),
    ],
)
def test_which_blocks_of_a_segment_are_within_bounds(
    bounds: Bounds, lossless: bool, expected: list[int]
) -> None:
    spans = (BlockSpan(0, 2, 1), BlockSpan(2, 4, 1), BlockSpan(4, 8, 2))
    segment = SegmentRecord(0, 0, 8, 4, spans, (1,), True, 0, True, {})
    assert bounds.admits(segment, lossless).astype(int).tolist() == expected


def test_one_answer_draws_blocks_of_several_videos_in_their_order(
    tmp_path: Path, model: VideoLLM, tiny: Path
) -> None:
    for number, colours in enumerate([(40, 200), (90, 10, 250), (120,)]):
        remember(tmp_path, model, tiny, colours, LOSSY, f"{number}{'0' * 15}")
    answer, catalog = ask(tmp_path, model, preset("default", blocks=100))
    assert len({piece.video for piece in answer.evidence}) == 3
    found = catalog.layer(0)
    order = list(zip(found.video.tolist(), found.segment.tolist(), found.row.tolist(), strict=True))
    assert order == sorted(order)
    assert set(found.video.tolist()) == {0, 1, 2}


def test_summary_blocks_that_pick_every_segment_change_nothing(
    tmp_path: Path, model: VideoLLM, tiny: Path
) -> None:
    remember(tmp_path, model, tiny, [40, 200, 90, 10], LOSSY)
    remember(tmp_path, model, tiny, [250, 90], LOSSY, "f" * 16)
    exact, _ = ask(tmp_path, model, LOSSY)
    coarse, catalog = ask(tmp_path, model, LOSSY, frames=0)
    assert catalog.coarse
    assert (coarse.tokens, coarse.evidence, coarse.budgets, coarse.blocks_stored) == (
        exact.tokens,
        exact.evidence,
        exact.budgets,
        exact.blocks_stored,
    )


def test_summary_blocks_pick_the_segments_that_are_looked_into(
    tmp_path: Path, model: VideoLLM, tiny: Path
) -> None:
    remember(tmp_path, model, tiny, [40, 200, 90, 10, 250, 120, 30], LOSSY)
    with Store.open(tmp_path) as store:
        catalog = Catalog(store, store.videos(), exact_frames=0)
        favourite = np.array([3, 9, 1, 8, 2, 7, 0], dtype=np.float32)

        def score(keys: Any) -> Any:
            import torch

            return torch.from_numpy(favourite[: len(keys)])

        found, stored, _ = catalog.candidates(1, score, wanted=1)
        assert set(found.segment.tolist()) == {0, 1, 3, 5}
        assert stored == len(Catalog(store, store.videos()).layer(1))
        found, _, _ = catalog.candidates(1, score, wanted=1, latest=2)
        assert set(found.segment.tolist()) == {0, 1, 3, 5, 6}
        favourite = np.array([0, 1, 9, 0, 5, 4, 3], dtype=np.float32)
        found, _, _ = catalog.candidates(1, score, wanted=1)
        assert set(found.segment.tolist()) == {2, 4, 5, 6}
        beside = preset("default").ranking
        found, _, _ = catalog.candidates(1, score, wanted=1, rank=beside)
        assert set(found.segment.tolist()) == {1, 2, 3, 4}


def test_a_catalog_is_kept_until_a_video_has_grown(
    tmp_path: Path, model: VideoLLM, tiny: Path
) -> None:
    remember(tmp_path, model, tiny, [40, 200], LOSSY)
    with Store.open(tmp_path) as store:
        shelf, videos = Shelf(store), store.videos()
        first = shelf.catalog(videos, Bounds())
        assert shelf.catalog(store.videos(), Bounds()) is first
        assert shelf.catalog(videos, Bounds(end=9)) is not first
