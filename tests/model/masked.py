"""A stock forward that attends as a memory with a window does: one pass, one mask of its own.

Every segment, and the question, has a copy of the init prompt before it: the words are the same,
and RoPE being relative, so are their keys but for where they stand.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from streamkv_cli.model.layout import FilmLayout
from tests.model.pair import Pair


def masked_logits(pair: Pair, cuts: list[int], window: int) -> Tensor:
    """Logits of the tokens behind the video, by the stock text model and a mask."""
    given = _given_to_text_model(pair)
    embeds, positions = given["inputs_embeds"][0], _positions(given)
    words = len(pair.prompt.before)
    each = pair.layout.rows * pair.layout.columns + len(pair.ours.closing())
    ends = torch.tensor([len(heading) + each for heading in pair.headings()]).cumsum(0) + words
    starts = [words, *ends.tolist()]  # of each block, and of what follows the video
    rows: list[int] = []  # tokens of the stock sequence, in the order of the new one
    kinds: list[tuple[int, int]] = []  # (part, block); -1 for init prompts, blocks for the question
    placed: list[Tensor] = []
    firsts = []
    edges = [0, *cuts, pair.blocks]
    spans = [*pairwise(edges), (pair.blocks, pair.blocks + 1)]
    for part, (start, stop) in enumerate(spans):
        first = max(0, start - window)
        firsts.append(first)
        move = positions[:, starts[first]] - positions[:, starts[0]]
        rows += range(words)
        kinds += [(part, -1)] * words
        placed.append(positions[:, :words] + move.unsqueeze(1))
        for block in range(start, stop):
            end = starts[block + 1] if block < pair.blocks else len(embeds)
            rows += range(starts[block], end)
            kinds += [(part, block)] * (end - starts[block])
            at = positions[:, starts[block] : end]
            if block == pair.blocks and isinstance(pair.layout, FilmLayout):
                at = at + move.unsqueeze(1)  # words count from where the film begins
            placed.append(at)
    mask = _mask(kinds, firsts)
    extra = _extra(given, rows)
    with torch.inference_mode():
        hidden = pair.stock.model.language_model(
            inputs_embeds=embeds[rows].unsqueeze(0),
            position_ids=_as_given(torch.cat(placed, dim=1)),
            attention_mask=mask,
            use_cache=False,
            **extra,
        ).last_hidden_state
        logits = pair.stock.get_output_embeddings()(hidden)[0]
    return logits[-(len(embeds) - starts[-1]) :]


def _given_to_text_model(pair: Pair) -> dict[str, Any]:
    """What the stock model hands to its text model for the whole video and the question."""
    seen: dict[str, Any] = {}
    hook = pair.stock.model.language_model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True
    )
    with torch.inference_mode():
        pair.stock(**pair.inputs())
    hook.remove()
    return seen


def _positions(given: dict[str, Any]) -> Tensor:
    positions = given.get("position_ids")
    if positions is None:
        return torch.arange(given["inputs_embeds"].shape[1]).unsqueeze(0)
    return positions[-3:, 0] if positions.dim() == 3 else positions


def _as_given(positions: Tensor) -> Tensor:
    return positions if len(positions) == 1 else positions.unsqueeze(1)


def _extra(given: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """DeepStack's features; those of the video, in the order of the stock sequence."""
    if given.get("deepstack_visual_embeds") is None:
        return {}
    visual = given["visual_pos_masks"][0]
    number = visual.cumsum(0) - 1
    wanted = [int(number[row]) for row in rows if visual[row]]
    return {
        "visual_pos_masks": visual[rows].unsqueeze(0),
        "deepstack_visual_embeds": [layer[wanted] for layer in given["deepstack_visual_embeds"]],
    }


def _mask(kinds: list[tuple[int, int]], firsts: list[int]) -> Tensor:
    """[1, 1, S, S] to add to scores: a part sees its init prompt, its window, and its own past."""
    part = torch.tensor([kind[0] for kind in kinds])
    block = torch.tensor([kind[1] for kind in kinds])
    first = torch.tensor(firsts)[part].unsqueeze(1)
    own = part.unsqueeze(1) == part
    earlier = (part.unsqueeze(1) > part) & (block >= first) & (block >= 0)
    earlier &= block.unsqueeze(1) >= 0  # an init prompt sees nothing but itself
    seen = (own | earlier) & torch.ones(len(kinds), len(kinds)).tril().bool()
    return torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)[None, None]
