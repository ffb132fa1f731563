"""The rows of the benchmark: what is compared with what, and each part of the method alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from streamkv_cli.method.presets import Method, preset

KEPT = (1.0, 0.4, 0.3, 0.2, 0.1, 0.05)
"""Kept fractions asked for; what is really kept is measured."""
ABLATED = 0.3
"""Kept fraction at which parts of the method are taken away."""
RECENT = "most recent blocks"
EVERYTHING = 1_000_000
"""More blocks, or tokens, than any film has."""


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        row: its name; rows of one name differ in the kept fraction.
        method: the program's settings.
        codec: how blocks are written.
        group: "compared" or "ablation".
    """

    row: str
    method: Method
    codec: str = "raw"
    group: str = "compared"

    @property
    def keep(self) -> float:
        """The kept fraction asked for."""
        return self.method.keep


@dataclass(frozen=True)
class KeptBy(Method):
    """The method with another rule in place of the guidance prompt, to see what that one is worth.

    Attributes:
        rule: "random", "uniform" (evenly over the segment) or "recent".
    """

    rule: str = "random"

    def keep_scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores [n] whose best K are what the rule keeps."""
        count = len(keys)
        order = torch.arange(count, dtype=torch.float32)
        if self.rule == "recent":
            return order
        if self.rule == "random":
            # Another draw in each segment and layer, the same in each run.
            seed = int(keys.double().sum().mul(1e6).round().item()) % 2**31
            return torch.rand(count, generator=torch.Generator().manual_seed(seed))
        # Bit-reversed order: its first K are spread evenly for every K.
        bits = max(1, (count - 1).bit_length())
        reversed_bits = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(count)]
        return -torch.tensor(reversed_bits, dtype=torch.float32)


def full_kv() -> Setting:
    """Everything in one context, nothing kept on purpose, dropped or chosen: the stock model."""
    method = preset("default", keep=1.0, window=EVERYTHING, blocks=EVERYTHING)
    return Setting("full KV", method)


def recent() -> Setting:
    """Everything encoded as for full KV, but only the end of it is looked at."""
    method = preset("default", keep=1.0, window=EVERYTHING)
    return Setting(RECENT, replace(method, local=method.blocks))


def rekv(keep: float) -> Setting:
    """ReKV: uniform pieces of 8 frames, every layer keeps and fetches alike, no summary block.

    ReKV itself keeps everything; below 1, blocks are dropped by the guidance score.
    """
    method = preset("official", keep=keep)
    method = replace(
        method,
        name="rekv",
        threshold=1.5,  # no cosine is above it: every frame is a cut, once there are 8
        min_frames=8,
        max_frames=8,
        summary=False,
        exact=True,
        local=0,
        keep_temperature=0.0,
        fetch_temperature=0.0,
    )
    return Setting("ReKV", method)


def compared() -> list[Setting]:
    """Rows that answer: how right, at how many bytes?"""
    settings = [full_kv(), recent(), rekv(1.0), rekv(0.2)]
    for name in ("paper", "official", "default"):
        kept = KEPT if name == "default" else [keep for keep in KEPT if keep != ABLATED]
        settings += [Setting(name, preset(name, keep=keep)) for keep in kept]
    for codec in ("int8", "int4"):
        settings.append(replace(full_kv(), row=f"full KV, {codec}", codec=codec))
        settings += [
            Setting(f"default, {codec}", preset("default", keep=keep), codec)
            for keep in (0.4, 0.3, 0.2, 0.1)
        ]
    return settings


def ablations() -> list[Setting]:
    """The default with one part of it changed."""
    base = preset("default", keep=ABLATED)
    changed: dict[str, Method] = {
        f"kept by {rule}": KeptBy(**{**vars(base), "name": f"by-{rule}", "rule": rule})
        for rule in ("random", "uniform", "recent")
    }
    changed |= {
        "nothing beside what is chosen": replace(base, neighbours=None),
        "summary block not counted": replace(base, count_summary=False),
        "equal budgets": replace(base, keep_temperature=0.0, fetch_temperature=0.0),
        "no summary block": replace(base, summary=False),
        "cut at 0.99": replace(base, threshold=0.99),
        "cut at 0.4": replace(base, threshold=0.4),
        "window of 15,000 tokens": replace(base, window_blocks=None),
    }
    return [Setting(name, method, group="ablation") for name, method in changed.items()]


def all_settings() -> Sequence[Setting]:
    """Every row, the compared ones first."""
    return [*compared(), *ablations()]
