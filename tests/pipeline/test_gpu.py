"""What a GPU computes is what a CPU computes; skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from store import CODECS, Store
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.pipeline.answer import Sampling, answer_question
from tests.conftest import Streamkv
from tests.store import samples

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("codec", CODECS)
def test_blocks_are_decoded_alike(tmp_path: Path, codec: str) -> None:
    """Read into pinned memory and decoded there, again and again: no copy is overtaken."""
    with Store.open(tmp_path / "s", create=True) as store:
        record = samples.record(codec=codec)
        with store.writer(record) as writer:
            for number in range(5):
                samples.commit(writer, layers=samples.layers(number))
        for _ in range(20):
            for layer in range(record.geometry.layers):
                found = store.summaries(layer, [record.video_id])
                refs = found.refs(range(len(found)))
                there = store.read_blocks(layer, refs, "cuda")
                assert there.is_cuda
                torch.testing.assert_close(there.cpu(), store.read_blocks(layer, refs))


def test_a_gpu_answers_rightly(streamkv: Streamkv, store: Path) -> None:
    """Ingested there and here, asked there and here."""
    film = Path(__file__).parents[2] / "examples" / "demo.mp4"
    question, right = "what colour was the square on the striped green ground?", "pink"
    for device in ("cpu", "cuda"):
        where = store.with_name(device)
        done = streamkv(
            "ingest", str(film), "--model", "demo", "--device", device, "--store", str(where)
        )
        assert done.returncode == 0, done.stderr
        for asked_on in ("cpu", "cuda"):
            model = load_model(find_checkpoint("demo"), choose_placement(asked_on, "float32"))
            with Store.open(where) as opened:
                records = [record for record, _ in opened.videos()]
                found = answer_question(
                    opened,
                    records,
                    model,
                    replace(preset("default"), blocks=16),
                    question,
                    sampling=Sampling(max_new_tokens=8),
                )
            assert found.text == right, (device, asked_on)
