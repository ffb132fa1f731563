"""Stage 2: train the language model to answer about composed videos, short ones first."""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .compose import KINDS, Composer
from .curriculum import AT_LAST, CURRICULUM, Phase
from .network import HIDDEN, LAYERS
from .packed import Answers, packed_forward
from .packing import Batch
from .questions import Kind
from .tower import SHARPNESS
from .vocabulary import word_id
from .world import COLOURS, MOTIONS, SHAPES

ATTEND, RETRIEVE, KNOW = 0.3, 0.1, 0.3
"""Weights of looking at the proof, of being found by the published retrieval score, and of knowing
at each frame what the scene before showed, which way the object goes, and how often it was there
before."""
SHOWINGS = ("different", "many", "things", "objects", "times")
"""Words that stand for none to four earlier showings of a thing."""
LEARNT = 0.3
"""How much a kind is still asked when all its answers are right; wrong ones add to it."""

log = logging.getLogger(__name__)


class LanguageTraining:
    """Trains the text model, the word embeddings and the newline; the tower's clips are fixed.

    Args:
        model: with a trained tower.
        composer: of training videos.
        path: of the checkpoint it resumes from.
        steps: in all; the learning rate falls to nothing over the last fifth.
        whole: the first steps, in which every video is read in one context: what came before a
            scene is learned there first, and kept when videos are read segment by segment.
    """

    def __init__(
        self,
        model: Any,
        composer: Composer,
        path: Path,
        *,
        steps: int,
        rate: float = 1.2e-3,
        seed: int = 2,
        curriculum: Sequence[Phase] = CURRICULUM,
        whole: int = 0,
    ) -> None:
        self.model, self.composer, self.path = model, composer, path
        self.steps, self.rate, self.seed, self.curriculum = steps, rate, seed, curriculum
        self.whole = whole
        self.prefix = torch.tensor(composer.tokens.prefix)
        inner = model.model
        # Read off a frame what its picture alone does not show; thrown away after training.
        self.probe = nn.ModuleDict(
            {
                "before": nn.Linear(HIDDEN, len(COLOURS) + len(SHAPES) + 2),
                "begins": nn.Linear(HIDDEN, 2),
            }
        )
        # Motion is to be there as the word itself, ready to be copied like a colour; how often a
        # thing was there before, as a word that is no answer: a digit would be the screen's number.
        words = composer.tokens.words
        self.motions = torch.tensor([word_id(words, motion) for motion in MOTIONS])
        self.showings = torch.tensor([word_id(words, word) for word in SHOWINGS])
        self.parameters = [
            *inner.language_model.parameters(),
            inner.image_newline,
            *self.probe.parameters(),
        ]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step, self.phase, self.begun_at = 0, 0, 0
        self.recent: dict[str, float] = {}
        self.seconds = 0.0
        self._inside = {"attended": -1.0, "retrieved": -1.0}
        self._inside |= dict.fromkeys(("before", "motion", "showing", "begins"), 1.0)

    def run(self, until: int | None = None) -> None:
        """Train to the last step, or to an earlier one, from the checkpoint if there is one."""
        stop = self.steps if until is None else until
        self.resume()
        self.model.train()
        right: dict[str, list[float]] = defaultdict(list)
        losses = []
        while self.step < stop:
            begun = time.perf_counter()
            loss, answered = self._one_step()
            self.seconds += time.perf_counter() - begun
            self.step += 1
            losses.append(loss)
            for kind, value in answered:
                right[kind].append(value)
            if self.step % 50 == 0:
                self._report(losses, right)
                losses.clear()
                right.clear()
                self._promote()
            if self.step % 200 == 0 or self.step == stop:
                self.save()
        self.model.eval()

    def _one_step(self) -> tuple[float, list[tuple[str, float]]]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self._warmth()
        rng = np.random.default_rng([self.seed, self.step])
        chosen = self._drawn_phase(rng)
        phase = self.curriculum[chosen]
        batch = self.composer.batch(
            rng,
            phase.videos,
            phase.questions,
            frames=phase.frames,
            run=phase.run,
            layers=LAYERS,
            # Byte by byte, a text from elsewhere is long: most batches need no room for one.
            longest=60 if self.step % 10 == 0 else 30,
            summary_share=phase.summary_share,
            drop_share=phase.drop_share,
            ingest_share=0.0 if self.step < self.whole else phase.ingest_share,
            kinds=self._kinds(),
            guide=self.step % 5 == 4,
        )
        answers = packed_forward(self.model, self.prefix, batch, guide=True)
        loss = F.cross_entropy(answers.logits, answers.labels)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + self._guided(answers, batch)).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        aside = chosen < min(self.phase, len(self.curriculum) - 2)
        answered = [] if aside else answers_right(batch, answers.logits, answers.labels)
        return float(loss.detach()), answered

    def _guided(self, answers: Answers, batch: Batch) -> Tensor:
        """What is asked of the inside of the model beside right answers."""
        attended, retrieved = answers.attended.mean(), answers.retrieved.mean()
        known = self._knows(answers, batch)
        seen = {"attended": attended, "retrieved": retrieved, **known}
        for name, value in seen.items():
            self._inside[name] += 0.02 * (float(value.detach()) - self._inside[name])
        return (
            KNOW * torch.stack([*known.values()]).sum() - ATTEND * attended - RETRIEVE * retrieved
        )

    def _drawn_phase(self, rng: np.random.Generator) -> int:
        """Now and then an earlier phase than the one it is in, so that what it taught stays."""
        if self.phase == len(AT_LAST) - 1:
            return int(rng.choice(len(AT_LAST), p=AT_LAST))
        earlier = self.phase > 0 and rng.random() < 0.15
        return int(rng.integers(self.phase)) if earlier else self.phase

    def _kinds(self) -> dict[Kind, float]:
        """How often each kind is asked: the less it is known yet, the more."""
        return {
            kind: weight * (LEARNT + 1 - self.recent.get(kind, 0.0))
            for kind, weight in KINDS.items()
        }

    def _knows(self, answers: Answers, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropies of naming what a picture alone does not show, at every token."""
        colour, shape = self.probe["before"](answers.video).split(
            [len(COLOURS) + 1, len(SHAPES) + 1], dim=-1
        )
        words = self.model.get_input_embeddings().weight.detach()
        motion = SHARPNESS * answers.video @ words[self.motions].T
        showing = SHARPNESS * answers.video @ words[self.showings].T
        # Apart for the blocks it hangs on: the first frame of a scene reads it off the window, the
        # summary block may be all that is kept of the scene.
        first, frame = batch.begins == 1, batch.begins != -100
        before = torch.zeros(())
        for some in (torch.ones_like(frame), first, ~frame):
            wanted = batch.before.masked_fill(~some.unsqueeze(-1), -100)
            before = before + _named(colour, wanted[..., 0]) + _named(shape, wanted[..., 1])
        return {
            "before": before / 2,
            "motion": _named(motion, batch.motion),
            "showing": _named(showing, batch.showing),
            "begins": _named(self.probe["begins"](answers.first), batch.begins),
        }

    def _warmth(self) -> float:
        """Factor on the learning rate: a short rise, and a cosine fall over the last fifth."""
        left = (self.steps - self.step) / (self.steps / 5)
        return min(1.0, (self.step + 1) / 200) * (
            1.0 if left >= 1 else max(0.02, 0.5 - 0.5 * math.cos(math.pi * left))
        )

    def _report(self, losses: list[float], right: dict[str, list[float]]) -> None:
        self.recent |= {kind: float(np.mean(values)) for kind, values in sorted(right.items())}
        shown = " ".join(f"{kind} {value:.2f}" for kind, value in self.recent.items())
        inside = " ".join(
            f"{name} {np.exp(value) if name in ('attended', 'retrieved') else value:.2f}"
            for name, value in self._inside.items()
        )
        log.info(
            "step %d phase %d loss %.3f all %.3f %s (%.0f s)",
            self.step,
            self.phase,
            float(np.mean(losses)),
            self._all_right(),
            f"{shown} {inside}",
            self.seconds,
        )

    def _all_right(self) -> float:
        values = [
            value for kind, value in self.recent.items() if kind not in ("off-world", "guide")
        ]
        return float(np.mean(values)) if values else 0.0

    def _promote(self) -> None:
        phase = self.curriculum[self.phase]
        last = self.phase == len(self.curriculum) - 1
        late = self.step - self.begun_at >= phase.most
        if not last and (self._all_right() >= phase.until or late):
            self.phase += 1
            self.begun_at = self.step

    def save(self) -> None:
        """Write the checkpoint; a crash in between leaves the one before."""
        state = {
            "step": self.step,
            "phase": self.phase,
            "begun_at": self.begun_at,
            "seconds": self.seconds,
            "recent": self.recent,
            "model": self.model.state_dict(),
            "probe": self.probe.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.probe.load_state_dict(state["probe"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.phase = state["step"], state["phase"]
        self.begun_at, self.seconds = state["begun_at"], state["seconds"]
        self.recent = state["recent"]


def _named(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of [B, N, P, choices] with [B, N]; nothing where nothing is wanted.

    Rare choices weigh more, by the root of how rare they are.
    """
    there = wanted != -100
    if not there.any():
        return torch.zeros(())
    repeated = wanted[there].unsqueeze(1).expand(-1, logits.shape[2])
    weight = repeated.flatten().bincount(minlength=logits.shape[3]).clamp(min=1).float() ** -0.5
    return F.cross_entropy(logits[there].flatten(0, 1), repeated.flatten(), weight)


def answers_right(batch: Batch, logits: Tensor, labels: Tensor) -> list[tuple[str, float]]:
    """(kind, 1 or 0) of every question: right when every token of its answer is.

    Each token is judged after the right ones before it, so a greedy answer is right just when
    this says so.
    """
    hits = (logits.argmax(-1) == labels).tolist()
    owners = batch.askers[batch.labels != -100].tolist()
    videos = (batch.labels != -100).nonzero()[:, 0].tolist()
    right: dict[tuple[int, int], bool] = {}
    for video, owner, hit in zip(videos, owners, hits, strict=True):
        right[video, owner] = right.get((video, owner), True) and hit
    return [
        (batch.questions[video][owner].kind, float(value))
        for (video, owner), value in right.items()
    ]
