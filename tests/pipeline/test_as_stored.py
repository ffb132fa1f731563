"""A video is finished with the settings it has in the store, whatever the defaults are now."""

from dataclasses import replace

import pytest

from store import Geometry, VideoRecord
from streamkv_cli.method.presets import PRESETS, Method
from streamkv_cli.pipeline.as_stored import stored_settings
from streamkv_cli.pipeline.profile import ingest_profile

OF_THE_FIRST_VERSION = replace(
    PRESETS["default"], keep=0.2, window_blocks=None, count_summary=False
)


@pytest.mark.parametrize("method", [*PRESETS.values(), OF_THE_FIRST_VERSION])
def test_settings_come_back_out_of_a_profile(method: Method) -> None:
    model = {"dtype": "float32", "init_prompt": "Hm."}
    profile = ingest_profile(model, method, 1.0, "What matters?", "raw")
    # Profiles written before these settings existed do not name them, and are not refused.
    for name in ("window_blocks", "count_summary"):
        assert (name in profile) == (method == PRESETS["default"])
    record = VideoRecord(
        "0123456789abcdef",
        "a.mp4",
        "a.mp4",
        "0" * 32,
        profile,
        Geometry(1, 1, 4, 8, "float32"),
        "2026-01-01T00:00:00+00:00",
        {"preset": method.name},
    )
    settings = stored_settings(record)
    assert settings.method == method
    assert ingest_profile(model, settings.method, 1.0, "What matters?", "raw") == profile
