"""Videos read segment by segment keep as many blocks as the method does, and see what is kept."""

import numpy as np
import pytest
import torch

from examples.demo_model import ingested as module
from examples.demo_model.ingested import WINDOW, ingested
from examples.demo_model.packing import Video
from streamkv_cli.method.presets import preset

LAYERS = 4


def _video(lengths: list[int], summed: bool) -> Video:
    """A video of segments of these many frames, which alone matter here."""
    sizes = [length + summed for length in lengths]
    numbers = [number for number, size in enumerate(sizes) for _ in range(size)]
    return Video([], [[(0, 0)]] * sum(sizes), [], [], [], numbers, summed)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERYTHING", 0.0)
    monkeypatch.setattr(module, "ON_TOP", 0.0)


@pytest.mark.parametrize("keep", [0.1, 0.2, 0.3, 0.45])
def test_each_segment_keeps_as_many_blocks_as_the_method(
    plain: None, monkeypatch: pytest.MonkeyPatch, keep: float
) -> None:
    monkeypatch.setattr(module, "KEPT", (keep, keep))
    lengths = [4, 6, 7, 10, 12]
    how, kept = ingested(np.random.default_rng(0), [_video(lengths, True)], LAYERS)
    method = preset("default", keep=keep)
    for number, frames in enumerate(lengths):
        own = how.segments[0, number]
        own = own[own >= 0]
        assert len(own) == frames + 1
        assert all(int(own[-1]) in layer[0] for layer in kept)
        counts = [int(torch.isin(own[:-1], layer[0]).sum()) for layer in kept]
        like = torch.randn(LAYERS, frames).unbind()
        assert sum(counts) == sum(method.keep_budgets(like)), frames


@pytest.mark.parametrize("summed", [True, False])
def test_a_segment_sees_the_newest_blocks_kept_before_it(plain: None, summed: bool) -> None:
    videos = [_video([4 + i % 7 for i in range(60)], summed), _video([5, 9], summed)]
    how, kept = ingested(np.random.default_rng(1), videos, LAYERS)
    full = 0
    for layer in range(LAYERS):
        for number, video in enumerate(videos):
            stored = kept[layer][number]
            stored = stored[stored >= 0].tolist()
            assert stored == sorted(set(stored))
            for place, own in enumerate(how.segments[number]):
                if own[0] < 0:
                    continue
                seen = how.windows[layer][number, place]
                before = [block for block in stored if block < own[0]]
                assert seen[seen >= 0].tolist() == before[-WINDOW:]
                full += len(before) > WINDOW
            flat = how.segments[number].flatten()
            blocks = torch.arange(len(video.blocks))
            assert flat[how.slots[number, : len(blocks)]].equal(blocks)
    assert full
