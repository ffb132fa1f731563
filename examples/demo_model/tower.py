"""Stage 1: teach the vision tower to name what a single picture shows.

Every one of a frame's tokens is to contain the words of all that the frame shows, as a sum of the
language model's own word embeddings: what a question has to find is then a plain match of words.
"""

import logging
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import SIDE, normalised
from .render import Pictures, draw
from .vocabulary import word_id
from .world import COLOURS, GROUNDS, NUMBERS, SHAPES, TEXTURES

SHARPNESS = 8.0
"""Factor on the products of a token with the words it may contain."""
WHERE = 2.0
"""Weight of saying where the object is."""

log = logging.getLogger(__name__)


def random_pictures(count: int, generator: torch.Generator) -> Pictures:
    """Pictures of anything anywhere, also of nothing; not scenes of a world."""

    def whole(choices: int) -> Tensor:
        return torch.randint(choices, (count,), generator=generator)

    def real(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    absent = real(0, 1) < 0.12
    unnumbered = real(0, 1) < 0.08
    return Pictures(
        shape=whole(len(SHAPES)).masked_fill(absent, -1),
        colour=whole(len(COLOURS)).masked_fill(absent, -1),
        ground=whole(len(GROUNDS)),
        texture=whole(len(TEXTURES)),
        number=whole(len(NUMBERS)).masked_fill(unnumbered, -1),
        x=real(0, 1),
        y=real(0, 1),
        size=real(0.19, 0.29),
        phase=real(0, 1),
        light=real(0.5, 1.2),
        noise=real(0, 8),
    )


def random_batch(count: int, generator: torch.Generator) -> tuple[Pictures, Tensor]:
    """Pictures and their pixels, seen at a random aspect and sharpness as a decoder may give."""
    pictures = random_pictures(count, generator)
    aspect = 1.0 + 0.85 * float(torch.rand((), generator=generator))
    pixels = draw(pictures, SIDE, SIDE, generator, aspect)
    if torch.rand((), generator=generator) < 0.5:
        pixels = _blurred(pixels, 0.25 * float(torch.rand((), generator=generator)))
    return pictures, pixels


def _blurred(pixels: Tensor, strength: float) -> Tensor:
    line = torch.tensor([strength, 1.0, strength]) / (1 + 2 * strength)
    kernel = (line.view(-1, 1) * line).expand(3, 1, 3, 3)
    planes = F.pad(pixels.permute(0, 3, 1, 2).float(), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(planes, kernel, groups=3).round().to(torch.uint8).permute(0, 2, 3, 1)


class Naming:
    """Which words a frame's tokens should contain.

    Args:
        words: the tokenizer.
    """

    def __init__(self, words: Any) -> None:
        def ids(names: Any, absent: str | None = None) -> Tensor:
            return torch.tensor(
                [word_id(words, n) for n in [*names, *([absent] if absent else [])]]
            )

        # How far right and how far down, as the difference of two words: the ground for motion.
        self.ways = (ids(["right", "left"]), ids(["down", "up"]))
        self.ids = {
            "shape": ids(SHAPES, "none"),
            "colour": ids(COLOURS, "none"),
            "ground": ids(GROUNDS),
            "texture": ids(TEXTURES),
            "number": ids(NUMBERS, "blank"),
        }

    def logits(self, tokens: Tensor, embeddings: Tensor) -> dict[str, Tensor]:
        """Per attribute [N, P, choices] from tokens [N, P, D] and all words' embeddings."""
        return {name: SHARPNESS * (tokens @ embeddings[ids].T) for name, ids in self.ids.items()}

    def where(self, tokens: Tensor, embeddings: Tensor) -> Tensor:
        """[N, P, 2] how far right and down the object is, -1 to 1; 0 where there is none."""
        ways = torch.stack([embeddings[more] - embeddings[less] for more, less in self.ways])
        return tokens @ F.normalize(ways, dim=-1).T

    def targets(self, pictures: Pictures) -> dict[str, Tensor]:
        """Per attribute [N]; absence is the last choice."""
        found = {}
        for name, ids in self.ids.items():
            value = getattr(pictures, name)
            found[name] = torch.where(value < 0, len(ids) - 1, value)
        return found


def true_where(pictures: Pictures) -> Tensor:
    """[N, 1, 2] as `Naming.where` should read it off every token."""
    where = torch.stack([pictures.x, pictures.y], dim=1) * 2 - 1
    return where.masked_fill((pictures.shape < 0).unsqueeze(1), 0.0).unsqueeze(1)


def frame_tokens(model: Any, pixels: Tensor) -> Tensor:
    """[N, P, D] projected and pooled tokens of uint8 pixels [N, height, width, 3]."""
    output = model.model.get_video_features(normalised(pixels).unsqueeze(0), return_dict=True)
    tokens: Tensor = output.pooler_output[0, :-1].unflatten(0, (len(pixels), -1))
    return tokens


class TowerTraining:
    """Trains the tower and the projector; the word embeddings stay as they are.

    Args:
        model: as `network.build` makes it.
        words: its tokenizer.
        steps: in all; the learning rate falls to nothing over them.
        path: of the checkpoint it resumes from.
    """

    def __init__(
        self, model: Any, words: Any, steps: int, path: Path, *, batch: int = 128, seed: int = 1
    ) -> None:
        self.model, self.steps, self.path, self.batch, self.seed = model, steps, path, batch, seed
        self.naming = Naming(words)
        self.embeddings = model.get_input_embeddings().weight.detach()
        self.parameters = [
            *model.model.vision_tower.parameters(),
            *model.model.multi_modal_projector.parameters(),
        ]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step = 0

    def run(self) -> None:
        """Train to the last step, from the checkpoint if there is one."""
        self._resume()
        self.model.train()
        begun = time.perf_counter()
        while self.step < self.steps:
            loss = self._one_step()
            self.step += 1
            if self.step % 100 == 0:
                right = self.accuracy(2)
                shown = " ".join(f"{name} {value:.3f}" for name, value in right.items())
                seconds = time.perf_counter() - begun
                log.info("tower step %d loss %.3f %s (%.0f s)", self.step, loss, shown, seconds)
            if self.step % 500 == 0 or self.step == self.steps:
                self._save()
        self.model.eval()

    def _one_step(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = 1.2e-3 * min(1.0, (self.step + 1) / 100) * self._cooled()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        pictures, pixels = random_batch(self.batch, generator)
        tokens = frame_tokens(self.model, pixels)
        loss = self._loss(tokens, pictures)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _cooled(self) -> float:
        return max(0.02, min(1.0, 2.5 * (1 - self.step / self.steps)))

    def _loss(self, tokens: Tensor, pictures: Pictures) -> Tensor:
        targets = self.naming.targets(pictures)
        loss = 0.003 * tokens.square().sum(-1).mean()
        for name, logits in self.naming.logits(tokens, self.embeddings).items():
            repeated = targets[name].unsqueeze(1).expand(logits.shape[:2])
            weight = 2.0 if name == "shape" else 1.0
            loss = loss + weight * F.cross_entropy(logits.flatten(0, 1), repeated.flatten())
        missed = self.naming.where(tokens, self.embeddings) - true_where(pictures)
        return loss + WHERE * missed.square().mean()

    @torch.no_grad()
    def accuracy(self, batches: int, seed: int = 0) -> dict[str, float]:
        """Share of fresh pictures whose every token names the attribute rightly.

        Where the object is counts as right within a tenth of its range.
        """
        generator = torch.Generator().manual_seed(0x7E57 + seed)
        right: dict[str, list[Tensor]] = {name: [] for name in [*self.naming.ids, "where"]}
        for _ in range(batches):
            pictures, pixels = random_batch(256, generator)
            tokens = frame_tokens(self.model, pixels)
            logits = self.naming.logits(tokens, self.embeddings)
            for name, target in self.naming.targets(pictures).items():
                right[name].append(logits[name].argmax(-1).eq(target.unsqueeze(1)).all(1).float())
            missed = self.naming.where(tokens, self.embeddings) - true_where(pictures)
            right["where"].append((missed.abs() < 0.2).flatten(1).all(1).float())
        return {name: float(torch.cat(values).mean()) for name, values in right.items()}

    def _save(self) -> None:
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def _resume(self) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
