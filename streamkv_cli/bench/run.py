"""All figures of one model on one video, in one run."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from store import Store
from streamkv_cli.bench.asking import Asks, forget, measure_ask
from streamkv_cli.bench.fetching import fetch, measure_fetch, ranges_of
from streamkv_cli.bench.figure import Figure
from streamkv_cli.bench.ingesting import Ingests, measure_ingest
from streamkv_cli.bench.sizes import measure_sizes
from streamkv_cli.bench.starting import measure_start
from streamkv_cli.errors import VideoError
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.session import IngestSession, Settings
from streamkv_cli.video import open_video


def run_bench(
    path: str,
    seconds: float,
    session: IngestSession,
    settings: Settings,
    rounds: int,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Iterator[Figure]:
    """Figures as they are measured; everything written goes to temporary folders.

    Args:
        path: the video.
        seconds: how much of it.
        session: of the model.
        settings: what it ingests with.
        rounds: turns of every figure.
        on_stage: told what is measured next.

    Raises:
        VideoError: the video cannot be read, or holds less than two frames in those seconds.
    """
    on_stage("process start")
    with _folder() as folder:
        store = folder / "store"
        with Store.open(store, write=True, create=True):
            pass
        yield from measure_start(store, rounds)
        on_stage("model")
        model = session.loaded()
        with open_video(path, fps=settings.fps, decoder=settings.decoder) as reader:
            info = reader.info
        layout = model.lay_out(info.width, info.height, settings.fps)
        record = session.record_of(path, layout, seconds)
        ingests = Ingests(path, seconds, record, model, layout, settings)
        on_stage("ingest")
        work = ingests.work(store)
        if sum(work.batches) < 2:
            raise VideoError(f"{path} has less than two sampled frames", "give a longer video")
        yield from measure_ingest(ingests, work, rounds)
        with Store.open(store) as opened:
            _, state = opened.videos()[0]
            yield from measure_sizes(opened, record, state, settings.fps)
            ranges = ranges_of(opened, record.video_id, settings.method.blocks)
            on_stage("fetch")
            fetch(opened, ranges)
            yield measure_fetch(opened, ranges, rounds, lambda: None, "fetch, warm page cache")
            yield measure_fetch(
                opened, ranges, rounds, lambda: forget(ranges.files), "fetch, cold page cache"
            )
        on_stage("ask")
        asks = Asks(store, Asker(model, settings.method, Sampling(max_new_tokens=2)))
        yield from measure_ask(asks, ingests, ranges, rounds)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="streamkv-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
