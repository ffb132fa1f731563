"""Codecs: exact bytes, bounded errors, odd shapes, and numbers that cannot be written."""

from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as runs
from hypothesis import strategies as st

from store import CODECS, Geometry, LayerBlocks, Store, StoreRefused, rebuild
from store.groups import group_size, groups_of
from store.quantize import dequantize, pack, quantize, unpack
from tests.store import samples

QUANTIZED = ["int8", "int4"]
SHAPES = st.tuples(*[st.integers(1, n) for n in (3, 3, 70, 70)])


def normal(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def geometry(kv: torch.Tensor) -> Geometry:
    _, _, g, p, d = kv.shape
    return Geometry(1, g, p, d, str(kv.dtype).removeprefix("torch."))


@st.composite
def blocks(draw: st.DrawFn) -> torch.Tensor:
    """KV [n, 2, g, P, d] as models make it and as they do not: outliers, constants, tiny, huge."""
    n, g, p, d = draw(SHAPES)
    kv = normal((n, 2, g, p, d), draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([1e-30, 1e-6, 1e-3, 1.0, 300.0, 6000.0]))
    kv = kv * scale
    kind = draw(st.sampled_from(["plain", "channel", "token", "constant", "one"]))
    if kind == "channel":
        kv[..., draw(st.integers(0, d - 1))] += draw(st.sampled_from([-40.0, 900.0])) * scale
    if kind == "token":
        kv[..., draw(st.integers(0, p - 1)), :] *= 100
    if kind == "constant":
        kv[:] = draw(st.sampled_from([0.0, 0.5, -0.3, 65504.0, -1e-20, 3.3e-5]))
    if kind == "one":
        kv[:] = 0
        kv[0, 0, 0, 0, 0] = 5 * scale
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    most = 65280 if dtype == torch.bfloat16 else 65504  # which bfloat16 would round up
    return kv.clamp(-most, most).to(dtype)


@given(blocks(), st.sampled_from(sorted(CODECS)))
@example(torch.tensor([65504.0, -65504.0]).half().view(1, 2, 1, 1, 1), "bf16")
@runs(max_examples=150)
def test_rows_are_as_long_as_said_and_decode_alone(kv: torch.Tensor, name: str) -> None:
    codec, shape = CODECS[name], geometry(kv)
    rows = codec.encode(kv)
    assert rows.dtype == torch.uint8
    assert rows.shape == (len(kv), codec.block_bytes(shape))
    _, item, tensor = codec.tensor(shape, len(kv))
    assert item * torch.tensor(tensor).prod() == rows.numel()
    back = codec.decode(rows, shape)
    assert (back.shape, back.dtype) == (kv.shape, kv.dtype)
    assert torch.isfinite(back).all()
    for i in range(len(kv)):
        assert torch.equal(codec.decode(rows[i : i + 1].clone(), shape)[0], back[i])
        assert torch.equal(codec.encode(kv[i : i + 1])[0], rows[i])


@given(blocks(), st.sampled_from([4, 8]), st.sampled_from([-1, -2]), st.integers(1, 80))
@runs(max_examples=200)
def test_no_element_is_off_by_more_than_half_a_step(
    kv: torch.Tensor, bits: int, dim: int, most: int
) -> None:
    x = kv[:, 0].float()
    codes, zero, step = quantize(x, dim, most, bits)
    assert int(codes.max()) < 1 << bits
    assert zero.dtype == step.dtype == torch.float16
    assert zero.shape[dim] == groups_of(x.shape[dim], most)
    back = dequantize(codes, zero, step, dim, most)
    size = group_size(x.shape[dim], most)
    steps = step.float().repeat_interleave(size, dim).narrow(dim, 0, x.shape[dim])
    rounding = 2.0**-21 * (x.abs() + zero.float().abs().max())
    assert ((x - back).abs() <= steps / 2 + rounding).all()
    # The step is no larger than it must be: the range, as half precision can say it.
    low, high = x.amin().item(), x.amax().item()
    least = (high - low) / ((1 << bits) - 1)
    assert step.float().max() <= least * 1.01 + 2**-10 * max(abs(low), abs(high)) + 2**-22


@given(st.integers(1, 300), st.integers(1, 300))
def test_groups_are_even_and_not_too_large(length: int, most: int) -> None:
    size, groups = group_size(length, most), groups_of(length, most)
    assert size <= most
    assert (groups - 1) * size < length <= groups * size


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 1000))
def test_nibbles_are_packed_and_found_again(n: int, half: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 16, (n, 2 * half), generator=source, dtype=torch.uint8)
    packed = pack(codes, 4)
    assert packed.shape == (n, half)
    assert packed[0, 0] == codes[0, 0] + 16 * codes[0, 1]
    assert torch.equal(unpack(packed, 4), codes)


def test_the_bytes_are_those_of_the_format_page() -> None:
    """One head, two tokens, two channels, by hand: zeros and steps, then codes."""
    kv = torch.tensor([[[[[0.0, 3.0], [15.0, 3.0]]], [[[-1.0, 2.0], [4.0, 4.0]]]]])
    rows = CODECS["int4"].encode(kv)
    tables = rows[0, :16].view(torch.float16).tolist()
    assert tables == [0.0, 3.0, 1.0, 0.0, -1.0, 4.0, pytest.approx(0.2, abs=2e-4), 0.0]
    assert rows[0, 16:].tolist() == [0x00, 0x0F, 0xF0, 0x00]
    assert CODECS["int4"].block_bytes(geometry(kv)) == 20
    assert CODECS["int8"].encode(kv)[0, 16:].tolist() == [0, 0, 255, 0, 0, 255, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_raw_changes_no_bit_whatever_it_is(dtype: torch.dtype) -> None:
    kv = normal((2, 2, 1, 3, 5)).to(dtype)
    kv[0, 0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -0.0])
    rows = CODECS["raw"].encode(kv)
    back = CODECS["raw"].decode(rows, geometry(kv))
    assert torch.equal(back.view(torch.uint8), kv.view(torch.uint8))


def test_bf16_rounds_and_halves() -> None:
    kv = normal((2, 2, 1, 3, 5))
    rows = CODECS["bf16"].encode(kv)
    assert rows.shape[1] * 2 == CODECS["raw"].encode(kv).shape[1]
    assert torch.equal(CODECS["bf16"].decode(rows, geometry(kv)), kv.bfloat16().float())


@pytest.mark.parametrize("name", ["bf16", *QUANTIZED])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(name: str, bad: float) -> None:
    kv = normal((2, 2, 1, 3, 5))
    kv[1, 1, 0, 2, 4] = bad
    with pytest.raises(ValueError, match="not finite"):
        CODECS[name].encode(kv)


@pytest.mark.parametrize("name", QUANTIZED)
def test_what_half_precision_cannot_hold_is_refused(name: str) -> None:
    kv = normal((1, 2, 1, 3, 5))
    kv[0, 0, 0, 0, 0] = 65505.0
    with pytest.raises(ValueError, match="beyond what this codec can write"):
        CODECS[name].encode(kv)


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("elements", [1, 90, 1 << 22])
def test_decoded_in_pieces_of_any_size(
    monkeypatch: pytest.MonkeyPatch, name: str, elements: int
) -> None:
    kv = normal((7, 2, 1, 3, 5))
    whole = CODECS[name].decode(CODECS[name].encode(kv), geometry(kv))
    monkeypatch.setattr("store.codec._AT_ONCE", elements)
    assert torch.equal(CODECS[name].decode(CODECS[name].encode(kv), geometry(kv)), whole)
    torch.testing.assert_close(whole, kv, rtol=0, atol=0.02 if name == "int8" else 0.4)


def test_no_blocks_are_no_rows() -> None:
    kv = torch.empty(0, 2, 2, 3, 5)
    for codec in CODECS.values():
        assert codec.decode(codec.encode(kv), geometry(kv)).shape == kv.shape


def test_sizes_of_the_published_models() -> None:
    """A block of LLaVA-OneVision-7B, and of 0.5B, in bytes: the table of docs/tuning.md."""
    seven, half = (Geometry(28, 4, 196, 128, "bfloat16"), Geometry(24, 2, 196, 64, "bfloat16"))
    sizes = {name: codec.block_bytes(seven) for name, codec in CODECS.items()}
    assert sizes == {"raw": 401408, "bf16": 401408, "int8": 209024, "int4": 121088}
    assert CODECS["int4"].block_bytes(half) == 25088 + 4 * 2 * 4 * 64 + 4 * 2 * 196 * 2


@pytest.fixture(scope="module")
def shape() -> Geometry:
    return Geometry(layers=3, kv_heads=2, tokens=5, head_dim=7, dtype="float32")


@pytest.mark.parametrize("name", sorted(CODECS))
def test_a_store_of_each_codec(tmp_path: Path, name: str, shape: Geometry) -> None:
    record, codec = samples.record(geometry=shape, codec=name), CODECS[name]
    with Store.open(tmp_path / "s", create=True) as store, store.writer(record) as writer:
        samples.commit(writer, layers=samples.layers(0, shape))
        packed = [
            LayerBlocks(layer.blocks, codec.encode(layer.kv), layer.keys)
            for layer in samples.layers(1, shape)
        ]
        samples.commit(writer, layers=packed, final=True)
    for again in range(2):
        with Store.open(tmp_path / "s") as store:
            for layer in range(3):
                found = store.summaries(layer, [samples.VIDEO])
                order = list(range(len(found)))[::-1]
                given_kv = [samples.layers(i, shape)[layer].kv for i in range(2)]
                expected = codec.decode(codec.encode(torch.cat(given_kv)), shape)
                assert torch.equal(store.read_blocks(layer, found.refs(order)), expected[order])
            size = codec.block_bytes(shape)
            assert store.io.bytes == store.io.blocks * size
        if not again:
            rebuild(tmp_path / "s")


def test_videos_of_different_codecs_are_read_together(tmp_path: Path, shape: Geometry) -> None:
    ids = [f"{i:016x}" for i in range(4)]
    names = dict(zip(ids, sorted(CODECS), strict=True))
    with Store.open(tmp_path / "s", create=True) as store:
        for video, name in names.items():
            with store.writer(samples.record(video, geometry=shape, codec=name)) as writer:
                samples.commit(writer, layers=samples.layers(ids.index(video), shape))
        found = store.summaries(2, ids)
        order = torch.randperm(len(found), generator=torch.Generator().manual_seed(3)).tolist()
        got = store.read_blocks(2, found.refs(order))
        for i, place in enumerate(order):
            video = ids[found.video[place]]
            kv = samples.layers(ids.index(video), shape)[2].kv[[found.row[place]]]
            codec = CODECS[names[video]]
            assert torch.equal(got[i], codec.decode(codec.encode(kv), shape)[0])


def test_a_number_that_cannot_be_written_stores_nothing(tmp_path: Path, shape: Geometry) -> None:
    record = samples.record(geometry=shape, codec="int4")
    layers = samples.layers(0, shape)
    layers[1].kv[0, 0, 0, 0, 0] = float("inf")
    with Store.open(tmp_path / "s", create=True) as store, store.writer(record) as writer:
        with pytest.raises(ValueError, match=r"layer 1 of segment 0: .*not finite"):
            samples.commit(writer, layers=layers)
        samples.commit(writer, layers=samples.layers(0, shape))
        first, *rest = samples.layers(1, shape)
        short = LayerBlocks(first.blocks, torch.zeros((3, 9), dtype=torch.uint8), first.keys)
        with pytest.raises(ValueError, match=r"kv is \(3, 9\), not"):
            samples.commit(writer, layers=[short, *rest])
        assert len(store.segments(samples.VIDEO)) == 1


def test_an_unknown_codec_is_listed_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = samples.record(codec="int2")
    with monkeypatch.context() as newer:  # what a later version of the program may know
        newer.setitem(CODECS, "int2", CODECS["int4"])
        with Store.open(tmp_path / "s", create=True) as store, store.writer(record) as writer:
            samples.commit(writer)
    with Store.open(tmp_path / "s", write=True) as store:
        [(video, _)] = store.videos()
        assert (video.codec, len(store.segments(samples.VIDEO))) == ("int2", 1)
        with pytest.raises(StoreRefused, match=r"walk\.mp4 are written as int2"):
            store.summaries(0, [samples.VIDEO])
        with pytest.raises(StoreRefused, match="int2"), store.writer(record) as writer:
            samples.commit(writer)
        store.remove(samples.VIDEO)
