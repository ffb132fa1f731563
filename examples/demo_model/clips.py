"""Clips: scenes run through the trained tower once, to compose any number of videos from.

Only the language model runs while it is trained; a video is a row of clips' frames.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .network import SIDE, TOKENS
from .render import draw, pictures_of
from .tower import Naming, frame_tokens
from .world import CAST, GROUNDS, TEXTURES, Fact, Place, Scene, Split, Thing, World, draw_cast

FRAMES = 10
"""Frames of a clip."""
DARK = 0.45
"""Brightness below which a picture is not to be relied on."""
SECONDS = 500.0
"""Of one world: long enough for most of its facts to be shown more than once."""

log = logging.getLogger(__name__)


@dataclass
class Clips:
    """A stock of clips.

    Attributes:
        facts: what each clip shows.
        tokens: float16 [clips, FRAMES, P, D].
        clear: bool [clips, FRAMES]: the picture shows all that is true of it.
        away: bool [clips, FRAMES]: the object of the scene has left the picture.
        along: float [clips, FRAMES]: how much of its way the object has gone, 0 to 1.
    """

    facts: list[Fact]
    tokens: Tensor
    clear: np.ndarray
    away: np.ndarray
    along: np.ndarray
    by_thing: dict[Thing | None, list[int]] = field(init=False)
    by_fact: dict[Fact, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        """Index the clips."""
        self.by_thing, self.by_fact = defaultdict(list), defaultdict(list)
        for number, fact in enumerate(self.facts):
            self.by_thing[fact.thing].append(number)
            self.by_fact[fact].append(number)

    def run(self, clip: int, length: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """(clip, frame) of `length` frames in a row, one of them clear at least.

        Longer than a clip: it goes on with the other clips of the same fact. A short one may skip
        every second picture.
        """
        frames: list[tuple[int, int]] = []
        while length - len(frames) > FRAMES:
            frames += [(clip, i) for i in range(FRAMES)]
            others = self.by_fact[self.facts[clip]]
            clip = others[rng.integers(len(others))]
        rest = length - len(frames)
        step = 2 if 2 * rest <= FRAMES and rng.random() < 0.5 else 1
        good = np.flatnonzero(self.clear[clip])
        wanted = int(good[rng.integers(len(good))])
        before = int(
            rng.integers(
                max(0, rest - 1 - (FRAMES - 1 - wanted) // step), min(rest - 1, wanted // step) + 1
            )
        )
        return frames + [(clip, wanted + (i - before) * step) for i in range(rest)]


def ideal_clips(embeddings: Tensor, naming: Naming, count: int, seed: int) -> Clips:
    """Clips as a perfect tower would encode them: sums of words, and some noise.

    The language model can learn to look things up on these while the tower is still being trained.

    Args:
        embeddings: [V, D] the words' embeddings.
        naming: which words.
    """
    rng = np.random.default_rng([seed, 0x1DEA])
    facts: list[Fact] = []
    while len(facts) < count:
        facts += draw_cast(rng, CAST, "train")
    for ground in range(len(GROUNDS)):
        facts += [Fact(Place(ground, texture)) for texture in range(len(TEXTURES))] * 20
    sums = torch.zeros(len(facts), embeddings.shape[1])
    for name, ids in naming.ids.items():
        sums += embeddings[ids[torch.tensor([_choice(fact, name) for fact in facts])]]
    tokens = sums.view(-1, 1, 1, sums.shape[1]).expand(-1, FRAMES, TOKENS, -1)
    noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed))
    shape = (len(facts), FRAMES)
    seen = (np.ones(shape, bool), np.zeros(shape, bool), np.zeros(shape))
    return Clips(facts, (tokens + 0.04 * noise).to(torch.float16), *seen)


def _choice(fact: Fact, name: str) -> int:
    """Index of what a fact is in one attribute; -1 where it is absent."""
    if name == "number":
        return -1 if fact.number is None else fact.number
    if name in ("ground", "texture"):
        return int(getattr(fact.place, name))
    return -1 if fact.thing is None else int(getattr(fact.thing, name))


def make_clips(model: Any, count: int, seed: int, split: Split) -> Clips:
    """Draw scenes of many worlds at one picture in one or two seconds, and encode them."""
    rng = np.random.default_rng([seed, 0xC11B])
    facts: list[Fact] = []
    tokens, seen = [], []
    world_seed = seed * 1_000_003
    while len(facts) < count:
        world = World(world_seed, split)
        world_seed += 1
        scenes = world.until(SECONDS)
        made = _world_clips(model, world, scenes, rng)
        for scene, clip, rows in zip(scenes, *made, strict=True):
            if rows[0].any():
                facts.append(scene.fact)
                tokens.append(clip)
                seen.append(rows)
        if len(facts) // 1000 > (len(facts) - len(scenes)) // 1000:
            log.info("%d of %d clips", len(facts), count)
    clear, away, along = np.stack(seen, axis=1)
    return Clips(facts, torch.stack(tokens), clear > 0, away > 0, along)


def _world_clips(
    model: Any, world: World, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Tensor], list[np.ndarray]]:
    """Per scene, its frames' tokens, and rows [clear, away, along] of them."""
    owners, seconds = [], []
    for scene in scenes:
        step = rng.uniform(0.6, 1.0) * (scene.end - scene.start) / FRAMES
        offset = rng.uniform(0, step)
        owners += [scene] * FRAMES
        seconds += [scene.start + offset + i * step for i in range(FRAMES)]
    pictures = pictures_of(world, owners, seconds)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    pixels = draw(pictures, SIDE, SIDE, generator, float(rng.uniform(1.2, 1.8)))
    with torch.inference_mode():
        encoded = frame_tokens(model, pixels).to(torch.float16)
    rows = [
        (
            scene.brightness(t) > DARK and (scene.fact.thing is None or scene.shows_thing(t)),
            scene.fact.thing is not None and not scene.shows_thing(t),
            scene.along(t),
        )
        for scene, t in zip(owners, seconds, strict=True)
    ]
    shape = (len(scenes), FRAMES)
    by_scene = np.array(rows, dtype=np.float64).reshape(*shape, 3).transpose(0, 2, 1)
    return list(encoded.unflatten(0, shape).clone()), list(by_scene)
