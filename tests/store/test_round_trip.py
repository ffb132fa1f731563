"""What is written comes back, bit for bit, and other tools can read the files."""

import os
import stat
import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from store import Geometry, LayerBlocks, Store
from tests.store import samples

geometries = st.builds(
    Geometry,
    layers=st.integers(1, 4),
    kv_heads=st.integers(1, 3),
    tokens=st.integers(1, 7),
    head_dim=st.integers(1, 9),
    dtype=st.sampled_from(["bfloat16", "float16", "float32"]),
)


@st.composite
def videos(draw: st.DrawFn) -> tuple[Geometry, bool, list[list[list[int]]]]:
    """A geometry, whether there are summary blocks, and the blocks kept [segment][layer]."""
    geometry = draw(geometries)
    summary = draw(st.booleans())
    kept = st.lists(st.integers(0, 5), unique=True, min_size=1 - summary).map(sorted)
    segment = st.lists(kept, min_size=geometry.layers, max_size=geometry.layers)
    return geometry, summary, draw(st.lists(segment, min_size=1, max_size=3))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(videos(), st.randoms(use_true_random=False))
def test_any_geometry_comes_back_in_any_order(
    video: tuple[Geometry, bool, list[list[list[int]]]], random: Random
) -> None:
    geometry, summary, segments = video
    written = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder) / "s", create=True) as store,
    ):
        with store.writer(samples.record(geometry=geometry)) as writer:
            for number, kept in enumerate(segments):
                chosen = [blocks + [6] * summary for blocks in kept]
                layers = samples.layers(number, geometry, chosen)
                samples.commit(
                    writer, spans=samples.spans(number, 6), layers=layers, summary=summary
                )
                written.append(layers)
        for layer in range(geometry.layers):
            found = store.summaries(layer, [samples.VIDEO])
            kv = torch.cat([segment[layer].kv for segment in written])
            keys = torch.cat([segment[layer].keys for segment in written])
            assert found.block.tolist() == [b for s in written for b in s[layer].blocks]
            assert found.segment.tolist() == [
                n for n, s in enumerate(written) for _ in s[layer].blocks
            ]
            assert found.row.tolist() == [r for s in written for r in range(len(s[layer].blocks))]
            assert found.summary.tolist() == [summary and b == 6 for b in found.block.tolist()]
            expected = torch.float32 if geometry.dtype == "float32" else torch.float16
            assert torch.equal(found.keys, keys.to(expected))
            order = list(range(len(found)))
            random.shuffle(order)
            if order:
                got = store.read_blocks(layer, found.refs(order))
                assert got.dtype == kv.dtype
                assert torch.equal(got, kv[order])


def test_other_tools_read_the_file(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    given = samples.layers(0)
    with safe_open(samples.segment_path(tmp_path / "s", 0), "pt") as file:
        assert list(file.metadata()) == ["streamkv"]
        for layer, blocks in enumerate(given):
            name = f"layer.{layer:03d}"
            assert torch.equal(file.get_tensor(f"{name}.kv"), blocks.kv)
            assert torch.equal(file.get_tensor(f"{name}.keys"), blocks.keys.half())
            assert file.get_tensor(f"{name}.blocks").tolist() == list(blocks.blocks)
            assert file.get_tensor(f"{name}.checksums").dtype == torch.uint64


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    one, two = samples.fill(tmp_path / "one"), samples.fill(tmp_path / "two")
    for number in range(3):
        left, right = samples.segment_path(one, number), samples.segment_path(two, number)
        assert left.read_bytes() == right.read_bytes()


def test_an_interrupted_video_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, parts = samples.fill(tmp_path / "whole"), tmp_path / "parts"
    for number in range(3):
        later = samples.record(created=f"{number}", notes={"run": number}, source="moved")
        first = samples.record()
        with (
            Store.open(parts, create=True) as store,
            store.writer(later if number else first) as writer,
        ):
            assert writer.next_number == number
            samples.commit(writer, final=number == 2)
    for number in range(3):
        left, right = samples.segment_path(whole, number), samples.segment_path(parts, number)
        assert left.read_bytes() == right.read_bytes()


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store = samples.fill(tmp_path / "s", 1)
    finally:
        os.umask(before)
    for path in (samples.segment_path(store, 0), store / "index.lmdb" / "data.mdb"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_block_keys_stay_finite_in_half_precision(tmp_path: Path) -> None:
    layers = samples.layers(0)
    layers[0].keys[0, 0, 0], layers[0].keys[0, 0, 1] = 1e9, float("-inf")
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer:
            samples.commit(writer, layers=layers)
        keys = store.summaries(0, [samples.VIDEO]).keys
    assert keys[0, 0, :2].tolist() == [65504.0, -65504.0]
    assert bool(torch.isfinite(keys).all())


def test_tensors_of_any_stride_are_stored_right(tmp_path: Path) -> None:
    layers = samples.layers(0)
    turned = layers[0].kv.transpose(3, 4).contiguous().transpose(3, 4)
    assert not turned.is_contiguous()
    layers[0] = LayerBlocks(layers[0].blocks, turned, layers[0].keys)
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer:
            samples.commit(writer, layers=layers)
        found = store.summaries(0, [samples.VIDEO])
        assert torch.equal(store.read_blocks(0, found.refs([2, 0])), turned[[2, 0]])


def test_records_come_back(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record(name="été \udce9\n.mp4")) as writer:
            one = samples.commit(writer, notes={"cut": 0.98})
            two = samples.commit(writer, final=True)
        [(video, state)] = store.videos()
        assert video == samples.record(name="été \udce9\n.mp4")
        assert store.segments(samples.VIDEO) == [one, two]
    assert one.notes == {"cut": 0.98}
    assert one.kept == (2, 1, 4)
    assert one.bytes == samples.segment_path(tmp_path / "s", 0).stat().st_size
    assert (state.complete, state.segments, state.frames) == (True, 2, 8)
    assert (state.start, state.end, state.bytes) == (0.0, 16.0, one.bytes + two.bytes)


def test_videos_are_ordered_as_asked(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 2)
    samples.fill(tmp_path / "s", 1, samples.OTHER)
    with Store.open(tmp_path / "s") as store:
        found = store.summaries(1, [samples.OTHER, samples.VIDEO])
        kv = store.read_blocks(1, found.refs(range(len(found))))
    assert found.video.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.segment.tolist() == [0, 0, 0, 0, 1, 1]
    assert np.array_equal(found.block, [1, 4] * 3)
    first, second = samples.layers(0)[1].kv, samples.layers(1)[1].kv
    assert torch.equal(kv, torch.cat([first, first, second]))


def test_reading_the_same_block_twice_gives_it_twice(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    with Store.open(tmp_path / "s") as store:
        found = store.summaries(0, [samples.VIDEO])
        kv = store.read_blocks(0, found.refs([1, 1, 0]))
    assert torch.equal(kv, samples.layers(0)[0].kv[[1, 1, 0]])


def test_only_finite_json_is_taken(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "s", create=True) as store,
        pytest.raises(ValueError, match="JSON"),
    ):
        store.writer(samples.record(profile={"threshold": float("nan")}))
