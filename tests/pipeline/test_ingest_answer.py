"""From a video file to an answer through the store, against the stock model on the raw video."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from store import BlockRef, Geometry, Store, VideoRecord
from streamkv_cli.errors import VideoError
from streamkv_cli.method.presets import Method, preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Answer, Sampling, answer_question
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.ingest import (
    Progress,
    ingest_video,
)
from streamkv_cli.pipeline.profile import ingest_profile, model_profile
from streamkv_cli.pipeline.resume import resume_point, vision_batch
from streamkv_cli.pipeline.retrieve import Retriever
from streamkv_cli.video import Frame, open_video
from tests.clips import numbered, write_clip

INIT, GUIDANCE, QUESTION = "Watch.", "What matters here?", "What colour is the circle?"
VIDEO_ID = "0123456789abcdef"
FPS = 1.0
LAYOUT_TOKENS = 4


@pytest.fixture(scope="module")
def model(tiny: Path) -> VideoLLM:
    return load_model(find_checkpoint(str(tiny)), choose_placement("cpu"))


def record_of(model: VideoLLM, method: Method, tiny: Path, codec: str = "raw") -> VideoRecord:
    shape = model.shape
    checkpoint = find_checkpoint(str(tiny))
    return VideoRecord(
        VIDEO_ID,
        "scenes.mp4",
        "scenes.mp4",
        VIDEO_ID,
        ingest_profile(model_profile(checkpoint, "float32", INIT), method, FPS, GUIDANCE, codec),
        Geometry(shape.layers, shape.kv_heads, LAYOUT_TOKENS, shape.head_dim, "float32"),
        "2026-01-01T00:00:00+00:00",
        {},
        codec,
    )


def ingest(
    path: Path,
    video: Path,
    model: VideoLLM,
    method: Method,
    tiny: Path,
    stop_after: int = 10**9,
    codec: str = "raw",
) -> Progress:
    """Ingest, going on where an earlier call stopped; `stop_after` frames the decoder breaks."""
    with Store.open(path, create=True) as store:
        known = any(record.video_id == VIDEO_ID for record, _ in store.videos())
        resume = resume_point(store, VIDEO_ID if known else None)
        start = resume.start(vision_batch(model.placement), FPS)
        with open_video(video, fps=FPS, start=start, decoder="pyav") as reader:
            return ingest_video(
                _Breaking(reader, stop_after),  # type: ignore[arg-type]
                record_of(model, method, tiny, codec),
                store,
                model,
                model.lay_out(0, 0, FPS),
                method,
                fps=FPS,
                duration=reader.info.duration,
                init_prompt=INIT,
                guidance_prompt=GUIDANCE,
                resume=resume,
                thumbnails=True,
            )


class _Breaking:
    """A reader whose decoder gives up after some frames, as with a damaged file."""

    def __init__(self, reader: object, frames: int) -> None:
        self.reader = reader
        self.frames = frames
        self.info = reader.info  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Frame]:
        for count, frame in enumerate(self.reader):  # type: ignore[call-overload]
            if count >= self.frames:
                raise VideoError("the video breaks off here")
            yield frame


def ask(
    path: Path,
    model: VideoLLM,
    method: Method,
    tokens: int = 24,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    with Store.open(path) as store:
        return answer_question(
            store,
            [record for record, _ in store.videos()],
            model,
            method,
            QUESTION,
            init_prompt=INIT,
            sampling=Sampling(max_new_tokens=tokens),
            on_text=on_text,
        )


def segment_files(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(path.glob(f"videos/{VIDEO_ID}/*.safetensors"))}


def test_everything_kept_answers_as_stock_generate_does(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path
) -> None:
    everything = preset("default", keep=1.0, window=10**6, blocks=10**4, max_frames=10)
    progress = ingest(tmp_path, demo_video, model, everything, tiny)
    answer = ask(tmp_path, model, everything)
    assert progress.frames == 48
    assert progress.blocks_kept == progress.blocks_seen == 48 * model.shape.layers
    assert answer.blocks_fetched == answer.blocks_stored == 48 * model.shape.layers

    stock = LlavaOnevisionForConditionalGeneration.from_pretrained(tiny).eval()
    with open_video(demo_video, fps=FPS, decoder="pyav") as reader:
        pixels = model.preprocess([frame.pixels for frame in reader])
    prompt = model.prompt(INIT, QUESTION)
    video = [stock.config.video_token_id] * (48 * LAYOUT_TOKENS + 1)
    ids = torch.tensor([[*prompt.before, *video, *prompt.after]])
    expected = stock.generate(
        input_ids=ids, pixel_values_videos=pixels[None], max_new_tokens=24, do_sample=False
    )
    assert answer.tokens == expected[0, ids.shape[1] :].tolist()
    assert len(set(answer.tokens)) > 1


def test_compression_keeps_the_budget_and_fetch_reads_no_more_than_chosen(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path
) -> None:
    method = preset("default", keep=0.5, blocks=6, local=2)
    progress = ingest(tmp_path, demo_video, model, method, tiny)
    assert progress.blocks_kept == progress.blocks_seen * 0.5
    with Store.open(tmp_path) as store:
        segments = store.segments(VIDEO_ID)
        (_, state) = store.videos()[0]
    assert state.complete
    assert segments[-1].final
    assert [s.start for s in segments] == [0, 8, 16, 24, 32, 40]  # the scenes of the demo
    assert [s.end for s in segments] == [8, 16, 24, 32, 40, 48]
    assert all(s.summary for s in segments)
    answer = ask(tmp_path, model, method)
    assert sum(answer.budgets) == 6 * model.shape.layers
    assert answer.blocks_fetched < answer.blocks_stored / 2
    block_bytes = 2 * 2 * 4 * 16 * 4
    assert answer.bytes_fetched == answer.blocks_fetched * block_bytes
    assert answer.evidence
    assert all(0 <= e.start < e.end <= 48 for e in answer.evidence)
    assert [e.layers for e in answer.evidence] == sorted(
        (e.layers for e in answer.evidence), reverse=True
    )


def test_the_most_recent_blocks_are_always_fetched(
    tmp_path: Path,
    demo_video: Path,
    model: VideoLLM,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[set[BlockRef]] = [set() for _ in range(model.shape.layers)]
    whole = Store.read_blocks

    def noted(store: Store, layer: int, refs: list[BlockRef], *where: Any) -> torch.Tensor:
        read[layer].update(refs)
        return whole(store, layer, refs, *where)

    monkeypatch.setattr(Store, "read_blocks", noted)
    method = preset("default", keep=0.5, blocks=4, local=3)
    ingest(tmp_path, demo_video, model, method, tiny)
    prompt = model.prompt(INIT, QUESTION)
    with Store.open(tmp_path) as store:
        catalog = Catalog(store, store.videos())
        prefix = model.encode_prefix(prompt.before)
        retriever = Retriever(catalog, prefix, [model.lay_out(0, 0, FPS)], method)
        model.probe(prompt, retriever.choose, retriever.place)
        retriever.settle()
        model.logits(prompt, retriever.choose, retriever.place)
        for layer, fetched in enumerate(read):
            count = len(retriever.summaries(layer).row)
            latest = retriever.summaries(layer).refs(range(count - 3, count))
            assert set(latest) <= fetched


@pytest.mark.parametrize("name", ["default", "paper", "official"])
def test_every_preset_ingests_and_answers(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path, name: str
) -> None:
    method = preset(name, blocks=5, local=0)
    progress = ingest(tmp_path, demo_video, model, method, tiny)
    assert 0 < progress.blocks_kept < progress.blocks_seen
    answer = ask(tmp_path, model, method, tokens=3)
    assert len(answer.tokens) == 3
    assert len(answer.budgets) == model.shape.layers


@pytest.mark.parametrize(
    ("stop_after", "codec"), [(3, "raw"), (21, "raw"), (33, "int4"), (40, "bf16"), (47, "int8")]
)
def test_an_interrupted_ingest_ends_with_the_same_bytes(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path, stop_after: int, codec: str
) -> None:
    # A window of 20 blocks, so that what is restored is less than what was stored.
    method = preset("default", keep=0.5, window=20 * LAYOUT_TOKENS)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ingest(whole, demo_video, model, method, tiny, codec=codec)
    with pytest.raises(VideoError, match="breaks off"):
        ingest(broken, demo_video, model, method, tiny, stop_after, codec)
    partial = segment_files(broken)
    in_batches = stop_after // 8 * 8  # frames of a batch that never filled are not encoded
    assert len(partial) == max(0, (in_batches - 1) // 8)
    progress = ingest(broken, demo_video, model, method, tiny, codec=codec)
    assert progress.resumed == len(partial)
    expected = segment_files(whole)
    resumed = segment_files(broken)
    assert list(resumed) == list(expected)
    assert resumed == expected
    with Store.open(broken) as store:
        names = [list(segment.attachments) for segment in store.segments(VIDEO_ID)]
    assert names == [[f"thumbnail-{t:06}000.jpg"] for t in range(1, 48, 8)]


def test_one_frame_is_a_memory(tmp_path: Path, model: VideoLLM, tiny: Path) -> None:
    clip = tmp_path / "one.mp4"
    write_clip(clip, numbered(1), fps=10)
    method = preset("default")
    progress = ingest(tmp_path / "store", clip, model, method, tiny)
    assert (progress.frames, progress.segments) == (1, 1)
    assert ask(tmp_path / "store", model, method, tokens=2).tokens


def test_a_store_moved_elsewhere_answers_the_same(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path
) -> None:
    method = preset("default", blocks=6, local=2)
    ingest(tmp_path / "here", demo_video, model, method, tiny)
    before = ask(tmp_path / "here", model, method)
    shutil.move(tmp_path / "here", tmp_path / "there")
    after = ask(tmp_path / "there", model, method)
    assert (after.tokens, after.evidence) == (before.tokens, before.evidence)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not count reads")
def test_unchosen_blocks_are_not_read(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path
) -> None:
    """What the kernel says was read, not what our own counter says."""
    everything = preset("default", keep=1.0)
    ingest(tmp_path, demo_video, model, everything, tiny)
    few = preset("default", keep=1.0, blocks=2, local=0)
    ask(tmp_path, model, few, tokens=1)  # so that what is imported late is imported
    with Store.open(tmp_path) as store:
        records = [record for record, _ in store.videos()]
        before = bytes_read()
        answer = answer_question(
            store,
            records,
            model,
            few,
            QUESTION,
            init_prompt=INIT,
            sampling=Sampling(max_new_tokens=1),
        )
        read = bytes_read() - before
    assert answer.bytes_stored == 48 * 3 * 1024
    assert answer.bytes_fetched <= 2 * 2 * 3 * 1024  # two blocks a layer, two passes
    # The count itself is read through the same interface: a few hundred bytes.
    assert 0 <= read - answer.bytes_fetched < 1024


def bytes_read() -> int:
    line = Path("/proc/self/io").read_text().splitlines()[0]
    assert line.startswith("rchar")
    return int(line.split()[1])


def test_a_question_sees_a_growing_video_as_it_was_when_asked(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path
) -> None:
    method = preset("default", keep=0.5, blocks=4, local=0)
    with pytest.raises(VideoError, match="breaks off"):
        ingest(tmp_path, demo_video, model, method, tiny, stop_after=24)
    prompt = model.prompt(INIT, QUESTION)
    prefix = model.encode_prefix(prompt.before)
    with Store.open(tmp_path) as store:
        asked = store.videos()
        stored = Catalog(store, asked).stored()
    ingest(tmp_path, demo_video, model, method, tiny)
    with Store.open(tmp_path) as store:
        assert max(Catalog(store, store.videos()).stored()) > max(stored)
        # As if the ingest had gone on between the question's beginning and its scans.
        catalog = Catalog(store, asked)
        for layer in range(model.shape.layers):
            summaries = catalog.layer(layer)
            assert len(summaries) == stored[layer]
            assert set(summaries.segment.tolist()) == {0, 1}
        retriever = Retriever(catalog, prefix, [model.lay_out(0, 0, FPS)], method)
        model.probe(prompt, retriever.choose, retriever.place)
