"""Segments: the published numbers, and what must hold for any stream."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.method.segmenter import Segment, Segmenter, similarity, summary_features
from streamkv_cli.method.threshold import CalibratedThreshold, CutRule, FixedThreshold

PUBLISHED = json.loads((Path(__file__).parent / "published_selection.json").read_text())

vector = st.lists(st.sampled_from([-1.0, 0.25, 1.0]), min_size=3, max_size=3)
streams = st.lists(vector, min_size=1, max_size=60)


def segments_of(frames: list[torch.Tensor], rule: CutRule, **options: object) -> list[Segment]:
    segmenter = Segmenter(rule, **options)  # type: ignore[arg-type]
    found: list[Segment] = []
    for i, frame in enumerate(frames):
        found += segmenter.push(frame, float(i))
    return [*found, *segmenter.finish()]


def frames_covered(segment: Segment) -> list[int]:
    return list(range(int(segment.pieces[0].start), int(segment.pieces[-1].end) + 1))


@pytest.mark.parametrize("case", PUBLISHED["segments"], ids=range(len(PUBLISHED["segments"])))
def test_segments_are_the_published_ones(case: dict) -> None:
    frames = [torch.tensor(frame) for frame in case["features"]]
    found = segments_of(
        frames, FixedThreshold(case["threshold"]), min_frames=case["min"], max_frames=case["max"]
    )
    assert [frames_covered(s) for s in found] == case["frame_ids"]
    assert [len(s.pieces) for s in found] == case["lengths"]
    for segment, mean in zip(found, case["mean_features"], strict=True):
        over_all = summary_features(segment.features).mean(dim=0)
        torch.testing.assert_close(over_all, torch.tensor(mean), atol=1e-5, rtol=1e-5)


@given(
    streams,
    st.floats(-1, 1),
    st.integers(1, 5),
    st.integers(0, 8),
    st.booleans(),
    st.none() | st.floats(1, 30),
)
def test_segments_tile_the_frames(
    stream: list[list[float]],
    threshold: float,
    shortest: int,
    more: int,
    merge: bool,
    max_seconds: float | None,
) -> None:
    frames = [torch.tensor([v]) for v in stream]
    found = segments_of(
        frames,
        FixedThreshold(threshold),
        min_frames=shortest,
        max_frames=shortest + more,
        merge=merge,
        max_seconds=max_seconds,
    )
    assert [i for s in found for i in frames_covered(s)] == list(range(len(frames)))
    assert [s.number for s in found] == list(range(len(found)))
    assert sum(s.frames for s in found) == len(frames)
    for segment in found:
        assert 1 <= len(segment.pieces) <= shortest + more
        ends = [(p.start, p.end) for p in segment.pieces]
        assert all(a[1] + 1 == b[0] for a, b in pairwise(ends))
        if not merge:
            assert all(p.frames == 1 for p in segment.pieces)
    for segment in found[:-1]:
        assert segment.frames >= shortest


@given(st.integers(1, 40))
def test_every_change_is_a_cut_when_all_frames_are_below_the_threshold(count: int) -> None:
    frames = [
        torch.tensor([[1.0, 0.0]]) if i % 2 else torch.tensor([[0.0, 1.0]]) for i in range(count)
    ]
    found = segments_of(frames, FixedThreshold(0.5), min_frames=1, max_frames=4)
    assert [len(s.pieces) for s in found] == [1] * count


@given(st.integers(1, 40))
def test_one_scene_is_one_segment_however_long(count: int) -> None:
    frames = [torch.ones(2, 3) * (1 + i) for i in range(count)]
    found = segments_of(frames, FixedThreshold(0.99), min_frames=2, max_frames=5)
    assert len(found) == 1
    assert found[0].frames == count
    assert len(found[0].pieces) == min(count, 5)


def test_the_most_similar_neighbours_are_averaged() -> None:
    angles = [0.0, 0.5, 1.0, 1.05, 1.6]
    frames = [
        torch.tensor([[torch.cos(torch.tensor(a)), torch.sin(torch.tensor(a))]]) for a in angles
    ]
    (found,) = segments_of(frames, FixedThreshold(-1), min_frames=1, max_frames=4)
    assert [(p.start, p.end) for p in found.pieces] == [(0, 0), (1, 1), (2, 3), (4, 4)]
    torch.testing.assert_close(found.pieces[2].features, (frames[2] + frames[3]) / 2)


def test_a_long_scene_is_closed_after_max_seconds() -> None:
    frames = [torch.ones(1, 2)] * 30
    found = segments_of(frames, FixedThreshold(-1), min_frames=2, max_frames=50, max_seconds=10)
    assert [s.frames for s in found] == [10, 10, 10]


def test_a_number_to_go_on_from() -> None:
    segmenter = Segmenter(FixedThreshold(0.5), first=7)
    assert list(segmenter.push(torch.ones(1, 2), 0.0)) == []
    assert [s.number for s in segmenter.finish()] == [7]
    assert list(segmenter.finish()) == []


@pytest.mark.parametrize(("shortest", "longest"), [(0, 4), (5, 4)])
def test_impossible_lengths_are_refused(shortest: int, longest: int) -> None:
    with pytest.raises(ValueError, match="min_frames"):
        Segmenter(FixedThreshold(0), min_frames=shortest, max_frames=longest)


def test_similarity_of_token_features_is_that_of_their_means() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    assert similarity(a, b) == pytest.approx(similarity(a.mean(0), b.mean(0)), abs=1e-6)
    assert similarity(a, a) == pytest.approx(1)


def noisy_scenes(
    noise: float, scale: float, scenes: int = 6, length: int = 20
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(scenes, 64, generator=generator)
    return [
        (5 / scale + centres[i // length] + noise * torch.randn(64, generator=generator))[None]
        for i in range(scenes * length)
    ]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("scale", [0.05, 1.0, 100.0])
def test_calibration_finds_the_same_cuts_wherever_similarities_lie(
    noise: float, scale: float
) -> None:
    """With a large common offset all similarities are near 1, as in real projected features."""
    found = segments_of(noisy_scenes(noise, scale), CalibratedThreshold(), min_frames=4)
    assert [s.frames for s in found] == [20] * 6


def test_a_still_camera_is_not_cut_into_scenes() -> None:
    frames = noisy_scenes(0.02, 1.0, scenes=1, length=300)
    assert len(segments_of(frames, CalibratedThreshold(), min_frames=4, max_frames=64)) == 1


def test_calibration_consults_only_the_past_and_can_be_continued() -> None:
    similarities = [0.99, 0.985, 0.991, 0.98, 0.3, 0.99, 0.97, 0.2, 0.99] * 10
    whole = CalibratedThreshold()
    cuts = [whole.is_cut(s) for s in similarities]
    first, second = CalibratedThreshold(), CalibratedThreshold()
    head = [first.is_cut(s) for s in similarities[:40]]
    second.changes = first.changes
    assert head + [second.is_cut(s) for s in similarities[40:]] == cuts
    assert cuts == [s < 0.9 for s in similarities]
