"""Ingest: the program's pipeline, the published loop, and the bare forwards."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from store import Store, VideoRecord, codec_of
from streamkv_cli.bench.bare import Bare
from streamkv_cli.bench.clip import Clip
from streamkv_cli.bench.figure import Figure, turns
from streamkv_cli.method.segmenter import Segment, Segmenter
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.video_llm import Encoded, VideoLLM
from streamkv_cli.pipeline.batches import blocks_of_frames, pictures
from streamkv_cli.pipeline.compress import compress_segment
from streamkv_cli.pipeline.ingest import Progress, ingest_video, spans_of
from streamkv_cli.pipeline.resume import ResumePoint
from streamkv_cli.pipeline.session import Settings
from streamkv_cli.pipeline.slots import note_skips
from streamkv_cli.pipeline.window import Window
from streamkv_cli.video import open_video


@dataclass
class Work:
    """What an ingest asked of the model.

    Attributes:
        pixels: the largest batch that the vision tower got.
        batches: blocks in each batch.
        forwards: of the language model: (new tokens, tokens attended to before them).
    """

    pixels: Tensor | None = None
    batches: list[int] = field(default_factory=list)
    forwards: list[tuple[int, int]] = field(default_factory=list)


class _Noting:
    """The model, noting what is asked of it."""

    def __init__(self, model: VideoLLM, work: Work) -> None:
        self._model = model
        self._work = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def features(self, pixels: Tensor) -> Any:
        found = self._model.features(pixels)
        if self._work.pixels is None or len(self._work.pixels) < len(pixels):
            self._work.pixels = pixels
        self._work.batches.append(len(pixels))
        return found

    def encode(
        self,
        features: Tensor,
        layout: Layout,
        context: Callable[[int], Any],
        place: Any,
        guidance: Sequence[int] = (),
        headings: Sequence[Sequence[int]] | None = None,
    ) -> Encoded:
        layers = range(self._model.shape.layers)
        held = sum(context(layer).keys.shape[2] for layer in layers) // len(layers)
        words = sum(map(len, headings or ())) + len(features) * len(self._model.closing())
        new = features.shape[0] * features.shape[1] + words + len(guidance)
        self._work.forwards.append((new, held))
        return self._model.encode(features, layout, context, place, guidance, headings)


class Ingests:
    """One clip, ingested again and again.

    Args:
        path, seconds: the video and how much of it.
        record: of it, as an ingest has made it.
        model, layout, settings: what it is ingested with.
    """

    def __init__(
        self,
        path: str,
        seconds: float,
        record: VideoRecord,
        model: VideoLLM,
        layout: Layout,
        settings: Settings,
    ) -> None:
        self.path, self.seconds, self.record = path, seconds, record
        self.model, self.layout, self.settings = model, layout, settings
        self.stages: list[dict[str, float]] = []
        self.bares: list[dict[str, float]] = []

    @contextmanager
    def _clip(self) -> Iterator[Clip]:
        settings = self.settings
        with open_video(self.path, fps=settings.fps, decoder=settings.decoder) as reader:
            yield Clip(reader, self.seconds)

    def into(self, folder: Path, model: Any = None) -> Progress:
        """Ingest the clip into a new store, as `streamkv ingest` does."""
        settings = self.settings
        with self._clip() as clip, Store.open(folder, write=True, create=True) as store:
            return ingest_video(
                clip,
                self.record,
                store,
                model or self.model,
                self.layout,
                settings.method,
                fps=settings.fps,
                duration=clip.info.duration,
                init_prompt=settings.init_prompt,
                guidance_prompt=settings.guidance_prompt,
                resume=ResumePoint(),
                thumbnails=settings.thumbnails is not False,
            )

    def work(self, folder: Path) -> Work:
        """Ingest the clip and note what that takes; also warms everything up."""
        noted = Work()
        self.into(folder, _Noting(self.model, noted))
        return noted

    def ours(self) -> float:
        """Seconds of an ingest."""
        with _scratch() as folder:
            begun = time.perf_counter()
            progress = self.into(folder)
            taken = time.perf_counter() - begun
        self.stages.append(dict(progress.seconds))
        return taken

    def published(self) -> float:
        """Seconds of the published loop: a frame at a time, and each segment written in turn."""
        with _scratch() as folder, Store.open(folder, write=True, create=True) as store:
            begun = time.perf_counter()
            with self._clip() as clip, store.writer(self.record) as writer:
                for number, (segment, last) in enumerate(self._segments(clip)):
                    packed = self._compressed(segment, number)
                    spans = spans_of(segment, 1 / self.settings.fps, clip.info.duration)
                    writer.commit(
                        number,
                        spans[0].start,
                        spans[-1].end,
                        segment.frames,
                        spans,
                        packed.layers,
                        summary=packed.summary,
                        final=last,
                        notes={"changes": segment.changes, **note_skips(packed.skips)},
                    )
            return time.perf_counter() - begun

    def bare(self, work: Work) -> float:
        """Seconds of the forwards alone."""
        assert work.pixels is not None
        stock = Bare(self.model)
        vision = sum(stock.vision(work.pixels[:size]) for size in work.batches)
        text = sum(stock.text(new, held) for new, held in work.forwards)
        self.bares.append({"vision": vision, "language model": text})
        return vision + text

    def _segments(self, clip: Clip) -> Iterator[tuple[Segment, bool]]:
        """Segments, each with whether it is the last."""
        method, layout, model = self.settings.method, self.layout, self.model
        prompt = model.prompt(self.settings.init_prompt, "?")
        prefix = model.encode_prefix(prompt.before)
        self._window = Window(prefix, method.window, layout, method.window_blocks)
        segmenter = Segmenter(
            method.cut_rule(),
            min_frames=method.min_frames,
            max_frames=method.max_frames,
            merge=not method.keeps_everything,
            max_seconds=method.max_seconds,
        )
        held: Segment | None = None
        for block in blocks_of_frames(list(clip), layout.frames):
            found = model.features(model.preprocess(pictures([block], layout.frames)))
            vector = found.embeddings if method.cut_on == "vision" else found.projected
            for segment in segmenter.push(
                found.tokens[0],
                block[0].time,
                vector.double().cpu()[0],
                end=block[-1].time,
                frames=len(block),
                number=block[0].index // layout.frames,
            ):
                if held is not None:
                    yield held, False
                held = segment
        for segment in segmenter.finish():
            if held is not None:
                yield held, False
            held = segment
        if held is not None:
            yield held, True

    def _compressed(self, segment: Segment, number: int) -> Any:
        method, record = self.settings.method, self.record
        guidance = (
            () if method.keeps_everything else self.model.guidance(self.settings.guidance_prompt)
        )
        return compress_segment(
            segment,
            self.model,
            self.layout,
            method,
            self._window,
            guidance,
            codec_of(record),
            record.geometry,
        )


def measure_ingest(ingests: Ingests, work: Work, rounds: int) -> list[Figure]:
    """Seconds of an ingest beside the published loop's and the bare forwards', then its stages.

    Stages overlap: decoding runs ahead of the others (what is measured is the waiting for it) and
    writing behind them.
    """
    taken = turns(
        rounds, ours=ingests.ours, peer=ingests.published, bound=lambda: ingests.bare(work)
    )
    frames = sum(work.batches) * ingests.layout.frames
    whole = Figure(
        "ingest",
        "s",
        taken["ours"],
        taken["peer"],
        taken["bound"],
        peer_is="a frame at a time, each segment written before the next",
        bound_is="the stock model's forwards on as many tokens, nothing else",
        notes={"frames": frames, "segments": len(work.forwards)},
    )
    names = sorted({name for stage in ingests.stages for name in stage} - {"total"})
    stages = [
        Figure(
            f"ingest: {name}",
            "s",
            [stage.get(name, 0.0) for stage in ingests.stages],
            bound=[bare[name] for bare in ingests.bares] if name in ingests.bares[0] else None,
            bound_is="the stock model's forwards" if name in ingests.bares[0] else "",
            notes={"frames": frames},
        )
        for name in names
    ]
    return [whole, *stages]


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="streamkv-bench-"))
    try:
        yield folder / "store"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
