"""Tensors are freed when they are done with, not at Python's next full collection.

A segment's KV in a reference cycle stays for some hundred segments: gigabytes with a model of a
real size, on the device.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.video_llm import VideoLLM
from tests.pipeline.test_ingest_answer import ask, ingest


@pytest.fixture(scope="module")
def model(tiny: Path) -> VideoLLM:
    return load_model(find_checkpoint(str(tiny)), choose_placement("cpu"))


@contextmanager
def _left_over() -> Iterator[list[torch.Tensor]]:
    """Fills a list with the tensors that nothing but a cycle holds when the block ends."""
    gc.collect()
    gc.disable()
    tensors: list[torch.Tensor] = []
    try:
        yield tensors
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        tensors += [found for found in gc.garbage if isinstance(found, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_the_measure_sees_a_cycle() -> None:
    with _left_over() as tensors:
        held: list[object] = [torch.zeros(1)]
        held.append(held)
        del held
    assert len(tensors) == 1


@pytest.mark.parametrize("act", ["ingest", "ask"])
def test_no_tensor_waits_for_a_collection(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path, act: str
) -> None:
    method = preset("default", blocks=4, local=1)
    acts: dict[str, Callable[[], object]] = {
        "ingest": lambda: ingest(tmp_path, demo_video, model, method, tiny),
        "ask": lambda: ask(tmp_path, model, method),
    }
    if act == "ask":
        acts["ingest"]()
    with _left_over() as tensors:
        acts[act]()
    assert [tuple(tensor.shape) for tensor in tensors] == []


def test_blocks_are_let_go_once_they_are_in_their_context(
    tmp_path: Path, demo_video: Path, model: VideoLLM, tiny: Path
) -> None:
    """The second pass copies them: while the answer is written they would lie there twice."""
    method = preset("default", blocks=4, local=1)
    ingest(tmp_path, demo_video, model, method, tiny)
    block = (2, model.shape.kv_heads, 4, model.shape.head_dim)
    live: list[int] = []

    def count(_: str) -> None:
        shapes = [tuple(each.shape) for each in gc.get_objects() if type(each) is torch.Tensor]
        live.append(shapes.count(block))

    answer = ask(tmp_path, model, method, on_text=count)
    assert answer.blocks_fetched >= 4 * model.shape.layers
    assert live
    assert max(live) == 0
