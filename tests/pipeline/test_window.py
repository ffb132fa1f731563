"""What the next segment attends to is bounded in tokens and in blocks."""

import pytest
import torch

from streamkv_cli.model.context import Context
from streamkv_cli.model.layout import Layout
from streamkv_cli.pipeline.window import Window


@pytest.mark.parametrize(
    ("tokens", "blocks", "held"), [(20, None, 5), (20, 3, 3), (4, 3, 2), (0, 3, 0), (20, 0, 0)]
)
def test_the_window_holds_no_more_than_either_bound(
    tokens: int, blocks: int | None, held: int
) -> None:
    words = torch.zeros(1, 1, 2, 4)
    window = Window([Context.of_text((words, words), 1)], tokens, Layout(1, 2), blocks)
    kept = torch.arange(5.0).view(5, 1, 1, 1, 1).expand(5, 2, 1, 2, 4)
    window.add(0, kept[:2], [0, 0])
    window.add(0, kept[2:], [0, 0, 0])
    context = window.context(0)
    assert context.keys.shape[2] == 2 + 2 * held
    newest = [value for block in range(5 - held, 5) for value in (block, block)]
    assert context.keys[0, 0, 2:, 0].tolist() == newest
