"""One cell of the benchmark: a film ingested with one setting, and all its questions asked."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from examples.demo_model.questions import Question
from store import Geometry, Store, VideoRecord
from streamkv_cli.method.presets import Method
from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.ingest import ResumePoint, ingest_video
from streamkv_cli.pipeline.profile import ingest_profile, model_profile
from streamkv_cli.pipeline.slots import note_layout

from .footage import Footage, RememberingModel

SAMPLING = Sampling(max_new_tokens=12)
"""Greedy; no right answer of the demo world is longer."""


@dataclass
class Bench:
    """Ingests and asks; stores of one film are shared by settings that ingest alike.

    Args:
        model: loaded once.
        checkpoint: of the model.
        folder: where stores are kept until the film is done with.
    """

    model: RememberingModel
    checkpoint: Checkpoint
    folder: Path

    def cell(
        self, footage: Footage, questions: list[Question], method: Method, codec: str = "raw"
    ) -> dict[str, Any]:
        """Measure one film with one setting.

        Returns:
            JSON values: bytes on disk, hours, blocks, wall times, and every question with the
            answer that was given.
        """
        started = time.perf_counter()
        path = self._store(footage, method, codec)
        asked = time.perf_counter()
        with Store.open(path) as store:
            ((record, state),) = store.videos()
            segments = store.segments(record.video_id)
            asker = Asker(self.model, method, SAMPLING)  # type: ignore[arg-type]
            catalog = Catalog(store, [(record, state)])
            answers = [_ask(asker, catalog, question) for question in questions]
        return {
            "hours": footage.hours,
            "bytes": state.bytes,
            "frames": state.frames,
            "segments": len(segments),
            "kept": sum(sum(s.rows()) for s in segments) / self.model.shape.layers,
            "ingest_seconds": round(asked - started, 2),
            "ask_seconds": round(time.perf_counter() - asked, 2),
            "answers": answers,
        }

    def clear(self) -> None:
        """Remove the stores of a film."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.model.forget()

    def _store(self, footage: Footage, method: Method, codec: str) -> Path:
        """A store with the film as this setting ingests it."""
        placement, shape, info = self.model.placement, self.model.shape, footage.info
        model = model_profile(self.checkpoint, placement.dtype_name, INIT_PROMPT)
        profile = ingest_profile(model, method, footage.fps, GUIDANCE_PROMPT, codec)
        settings = f"{footage.identity} {profile} {method.name}"
        digest = xxhash.xxh3_64_hexdigest(settings.encode())
        path = self.folder / digest
        if path.exists():
            return path
        layout = self.model.lay_out(info.width, info.height, footage.fps)
        record = VideoRecord(
            video_id=footage.identity[:16],
            name=Path(info.name).name,
            source=info.name,
            fingerprint=footage.identity,
            profile=profile,
            geometry=Geometry(
                shape.layers, shape.kv_heads, layout.tokens, shape.head_dim, placement.dtype_name
            ),
            created="2026-01-01T00:00:00+00:00",
            notes=note_layout(layout),
            codec=codec,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        with Store.open(path, create=True) as store:
            ingest_video(
                footage,
                record,
                store,
                self.model,  # type: ignore[arg-type]
                layout,
                method,
                fps=footage.fps,
                duration=info.duration,
                init_prompt=INIT_PROMPT,
                guidance_prompt=GUIDANCE_PROMPT,
                resume=ResumePoint(),
            )
        return path


def _ask(asker: Asker, catalog: Catalog, question: Question) -> dict[str, Any]:
    answer = asker.answer(catalog, question.text)
    return {
        "kind": question.kind,
        "question": question.text,
        "truth": question.answer,
        "said": answer.text,
        "right": answer.text == question.answer,
        "blocks": sum(answer.budgets) / len(answer.budgets),
        "bytes": answer.bytes_fetched,
    }
