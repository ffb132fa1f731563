"""Named settings of the method: what the paper says, what its code does, and what we use.

Paper and published code differ in more than numbers (design, section 3), so each is a preset of
its own; single values can be replaced by flags.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from streamkv_cli.method.scoring import Similarity, block_scores, lifted
from streamkv_cli.method.selection import exact_budgets, searched_counts, stretched_counts
from streamkv_cli.method.threshold import CalibratedThreshold, CutRule, FixedThreshold

OFFICIAL_SLACK = 4
"""How far from N the official binary search stops."""

PUBLISHED_WINDOW = 76
"""Blocks in the published window: 15,000 tokens of 196 a frame."""

OFFICIAL_FETCH_CAP = 128
"""Most blocks the official code fetches in one layer."""


@dataclass(frozen=True)
class Method:
    """Settings of the method; what of them the stored KV depends on is part of the profile.

    Attributes:
        name: of the preset they come from.
        threshold: cut where s_t is at or below it; None calibrates it from the stream itself.
        cut_on: compare adjacent frames by their projected features or by the vision tower's.
        min_frames, max_frames: of a segment; beyond `max_frames`, similar neighbours are averaged.
        max_seconds: longest span of a segment; None for no limit.
        keep: fraction of a segment's blocks that is kept. At 1 nothing is lost: no averaging, no
            guidance prompt, no summary block.
        keep_temperature: bound each layer's kept blocks to keep x T x (1 -/+ this); None: unbound.
        window: tokens of recent KV that the next segment attends to.
        summary: append and keep a summary block.
        blocks: mean number of blocks fetched in a layer for a question.
        local: most recent blocks that are always fetched.
        fetch_temperature: bound a layer's fetched blocks to blocks x (1 -/+ this); None: unbound.
        similarity: of a query and a block key.
        zscore: z-score a layer's scores before the softmax.
        window_blocks: most blocks in the window, however few tokens they have; None: no bound.
        count_summary: the summary block is one of the keep x T; a layer may keep no other.
        neighbours: fetch what stands beside a chosen segment before whatever scores this many
            standard deviations less than its best block; None: never.
        exact: budgets solved exactly; otherwise searched and stretched as the official code does.
    """

    name: str
    threshold: float | None = None
    cut_on: Literal["projected", "vision"] = "projected"
    min_frames: int = 4
    max_frames: int = 64
    max_seconds: float | None = 600.0
    keep: float = 0.3
    keep_temperature: float | None = 1.0
    window: int = 15_000
    summary: bool = True
    blocks: int = 64
    local: int = 8
    fetch_temperature: float | None = 0.5
    similarity: Similarity = "dot"
    zscore: bool = True
    exact: bool = True
    window_blocks: int | None = None
    count_summary: bool = False
    neighbours: float | None = None

    @property
    def keeps_everything(self) -> bool:
        """Nothing is averaged, dropped or summed up."""
        return self.keep >= 1

    def cut_rule(self) -> CutRule:
        """A fresh rule for one stream."""
        if self.threshold is None:
            return CalibratedThreshold()
        return FixedThreshold(self.threshold)

    def keep_scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores by which a layer's blocks of one segment are kept (design 3.4).

        Args:
            queries: [S, h, d] of the guidance prompt.
            keys: [T, g, d] block keys of the segment's frames.

        Returns:
            [T] float32.
        """
        return block_scores(queries, keys, self.similarity)

    def fetch_scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores of a layer's stored blocks for a question (design 3.6), [n] float32.

        Args:
            queries: [S, h, d] of the question.
            keys: [n, g, d] block keys.
        """
        return block_scores(queries, keys, self.similarity)

    def ranking(self, scores: Tensor, segments: Tensor) -> Tensor:
        """Scores [n] in whose order blocks are fetched: those of a question, and what is beside.

        Args:
            scores: [n] of `fetch_scores`.
            segments: [n] as of `lifted`.
        """
        return scores if self.neighbours is None else lifted(scores, segments, self.neighbours)

    def keep_budgets(self, scores: Sequence[Tensor]) -> list[int]:
        """K_l for compression: how many of a segment's T blocks each layer keeps.

        N = keep x T x L (design 3.4), less the summary blocks where they count; spread by
        Algorithm 1 and bound by `keep_temperature`.

        Args:
            scores: L tensors [T] of guidance scores.
        """
        frames = len(scores[0])
        counted = self.summary and self.count_summary
        mean = max(0.0, frames * self.keep - counted)
        target = max(0, int(len(scores) * frames * self.keep) - len(scores) * counted)
        return self._budgets(scores, target, mean, self.keep_temperature, frames, 1 - counted)

    def fetch_budgets(self, scores: Sequence[Tensor]) -> list[int]:
        """K_l for a question: how many blocks each layer fetches; N = blocks x L (design 3.6).

        Args:
            scores: L tensors [n_l] of question scores over all stored blocks of the layer.
        """
        target = self.blocks * len(scores)
        cap = max(self.blocks, OFFICIAL_FETCH_CAP)
        return self._budgets(scores, target, self.blocks, self.fetch_temperature, cap)

    def _budgets(
        self,
        scores: Sequence[Tensor],
        target: int,
        mean: float,
        temperature: float | None,
        cap: int,
        least: int = 1,
    ) -> list[int]:
        if temperature is None:
            return exact_budgets(scores, target, zscore=self.zscore, least=least)
        low, high = (
            max(float(least), mean * (1 - temperature)),
            min(float(cap), mean * (1 + temperature)),
        )
        if self.exact:
            return exact_budgets(scores, target, low, high, zscore=self.zscore, least=least)
        counts = searched_counts(scores, target, zscore=self.zscore, slack=OFFICIAL_SLACK)
        stretched = stretched_counts(counts, int(low), int(high))
        return [min(k, len(s)) for k, s in zip(stretched, scores, strict=True)]


PRESETS = {
    "default": Method(
        "default",
        window_blocks=PUBLISHED_WINDOW,
        count_summary=True,
        neighbours=0.75,
    ),
    "paper": Method(
        "paper",
        threshold=0.99,
        cut_on="vision",
        max_seconds=None,
        keep=0.4,
        keep_temperature=None,
        blocks=8,
        local=0,
        fetch_temperature=None,
        similarity="cosine",
        zscore=False,
    ),
    "official": Method(
        "official", threshold=0.99, max_seconds=None, keep=0.6, blocks=64, local=8, exact=False
    ),
}
"""Published settings and ours; the paper's 0.4 is its mildest, theta = 60 % dropped."""


def preset(name: str, **changes: object) -> Method:
    """A preset with single values replaced; values that are None stay as the preset has them."""
    given = {key: value for key, value in changes.items() if value is not None}
    if "window" in given:
        given.setdefault("window_blocks", None)  # who asks for so many tokens means them
    return replace(PRESETS[name], **given)  # type: ignore[arg-type]
