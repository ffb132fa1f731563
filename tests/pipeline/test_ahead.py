"""Looking ahead in a list of videos: every decoder begins once, and before its video's turn."""

from pathlib import Path

import pytest

from store import Store
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT
from streamkv_cli.pipeline import session as sessions
from streamkv_cli.pipeline.ahead import Ahead
from streamkv_cli.pipeline.session import IngestSession, Settings
from tests.clips import numbered, write_clip


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_each_decoder_begins_once_and_ahead(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    names = [str(tmp_path / f"{i}.mp4") for i in range(4)]
    for i, name in enumerate(names):
        write_clip(Path(name), numbered(20 + i))
    begun: list[str] = []
    real = sessions.open_video

    def noted(source: str, **options: object) -> object:
        begun.append(source)
        return real(source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sessions, "open_video", noted)
    settings = Settings(preset("default"), 0.5, INIT_PROMPT, GUIDANCE_PROMPT)
    placement = choose_placement("cpu", "float32")
    session = IngestSession(find_checkpoint(str(tiny)), placement, settings)
    left, at_its_turn = iter(names), []
    with (
        Store.open(tmp_path / "kv", write=True, create=True) as store,
        Ahead(lambda *_: session, store, lambda _: next(left, None), jobs) as ahead,
    ):
        for video in ahead:
            at_its_turn.append(len(begun))
            outcome = session.ingest(store, video, lambda *_: None, lambda *_: None)
            assert outcome.state.complete
    assert begun == names
    assert at_its_turn == [min(number + jobs - (jobs == 1), 4) for number in range(4)]
