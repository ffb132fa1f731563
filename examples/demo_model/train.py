"""Train the demo model from a seed, and write it as a checkpoint.

    python -m examples.demo_model.train WORK_FOLDER [--seed 0]

Every stage resumes from its own checkpoint in the work folder, so it may be interrupted at any time
and run over several sittings. Two stages can run at once, each on one core:

    python -m examples.demo_model.train WORK_FOLDER --only tower
    python -m examples.demo_model.train WORK_FOLDER --only words

1. tower: the vision tower and the projector name what single pictures show.
2. words: the language model answers about videos as a perfect tower would encode them.
3. clips: scenes of many worlds are encoded by the tower.
4. videos: the language model goes on with videos composed of these clips.
5. export: the checkpoint, in bfloat16, at WORK_FOLDER/demo.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .clips import Clips, ideal_clips, make_clips
from .compose import Composer
from .curriculum import CURRICULUM, Phase
from .export import export
from .language import LanguageTraining
from .network import build
from .packing import Tokens
from .tower import Naming, TowerTraining
from .vocabulary import tokenizer

STAGES = ("tower", "words", "clips", "videos", "export")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    Attributes:
        tower, words, videos: steps of these stages.
        clips: scenes that are encoded.
        whole: steps of `videos` before any is read segment by segment.
        curriculum: of the stages `words` and `videos`.
    """

    tower: int = 4500
    words: int = 800
    clips: int = 9000
    videos: int = 14_400
    whole: int = 10_400
    curriculum: tuple[Phase, ...] = CURRICULUM


FULL = Recipe()


class Training:
    """The stages of one model.

    Args:
        folder: of the checkpoints.
        seed: of everything.
        recipe: a smaller one is for trying whether all stages run.
    """

    def __init__(self, folder: Path, seed: int, recipe: Recipe = FULL) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed, self.recipe = folder, seed, recipe
        self.words = tokenizer()
        self.model: Any = build(self.words, seed)
        self.tokens = Tokens(self.words)
        if (folder / "tower.pt").exists():
            self._load_tower()

    def tower(self) -> None:
        """Stage 1."""
        training = TowerTraining(
            self.model, self.words, self.recipe.tower, self.folder / "tower.pt"
        )
        training.run()
        log.info("tower: %s", training.accuracy(10))

    def language(self) -> None:
        """Stage 2: needs no tower."""
        embeddings = self.model.get_input_embeddings().weight.detach()
        clips = ideal_clips(embeddings, Naming(self.words), 4000, self.seed)
        path, steps = self.folder / "words.pt", self.recipe.words
        # The rate stays high: the next stage goes on from here.
        self.language_training(clips, path, 3 * steps).run(until=steps)

    def clips(self) -> None:
        """Stage 3: needs the tower; done once, so remove clips.pt after more training of that."""
        path, part = self.folder / "clips.pt", self.folder / "clips.part"
        if path.exists():
            return
        torch.save(make_clips(self.model.eval(), self.recipe.clips, self.seed + 1, "train"), part)
        part.replace(path)

    def videos(self) -> None:
        """Stage 4: needs all before."""
        self._load_language("words.pt")
        # Written by this program, in this folder.
        clips: Clips = torch.load(self.folder / "clips.pt", weights_only=False)
        self.language_training(clips, self.folder / "videos.pt", self.recipe.videos).run()

    def export(self) -> None:
        """Stage 5."""
        self._load_language("videos.pt")
        export(self.model, self.words, self.folder / "demo")

    def language_training(self, clips: Clips, path: Path, steps: int) -> LanguageTraining:
        """Training on some clips, with this recipe's curriculum."""
        composer = Composer(clips, self.tokens, "train")
        curriculum = self.recipe.curriculum
        return LanguageTraining(
            self.model,
            composer,
            path,
            steps=steps,
            curriculum=curriculum,
            whole=self.recipe.whole,
        )

    def run(self, stage: str) -> None:
        """Run one of STAGES."""
        log.info("stage %s", stage)
        getattr(self, "language" if stage == "words" else stage)()

    def _load_tower(self) -> None:
        state = torch.load(self.folder / "tower.pt", weights_only=True)["model"]
        # The words too: the tower speaks in them as they were.
        self._load({k: v for k, v in state.items() if _is_vision(k) or "embed_tokens" in k})

    def _load_language(self, name: str) -> None:
        state = torch.load(self.folder / name, weights_only=True)["model"]
        self._load({k: v for k, v in state.items() if not _is_vision(k)})

    def _load(self, state: dict[str, Any]) -> None:
        assert state
        left = self.model.load_state_dict(state, strict=False)
        assert not left.unexpected_keys


def _is_vision(name: str) -> bool:
    return "vision_tower" in name or "multi_modal_projector" in name


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(given.threads)
    for stage in [given.only] if given.only else STAGES:
        Training(given.folder, given.seed).run(stage)


if __name__ == "__main__":
    main()
