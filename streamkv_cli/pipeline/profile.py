"""The profile: everything that stored KV depends on, and how a mismatch is told.

Kept with every video. What the model computed (weights, tokens, dtype, RoPE) must be the same when
a question is asked; what the ingest chose (fps, segments, budgets) must be the same to continue.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from store import StoreRefused
from streamkv_cli.model.identity import config_digest, template_digest

if TYPE_CHECKING:
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.checkpoint import Checkpoint

MODEL_FIELDS = (
    "family",
    "weights",
    "tokenizer",
    "rope",
    "config",
    "template",
    "dtype",
    "weights_in",
    "init_prompt",
)
"""What has to agree between a memory and the model that reads it."""

_NOTED_LATER = ("config", "template", "pictures")

UNNAMED = {"window_blocks": None, "count_summary": False}
"""Settings of the method that a profile names only where they differ from the published method."""

_WORDS = {
    "weights": "model weights",
    "rope": "RoPE settings",
    "weights_in": "bits of the weights (--load-in-4bit)",
    "config": "model settings (config.json)",
    "template": "chat template",
    "pictures": "picture settings (preprocessor_config.json)",
    "fps": "frames a second",
    "keep": "kept fraction",
    "codec": "--kv-dtype",
}


def model_profile(
    checkpoint: "Checkpoint",
    dtype: str,
    init_prompt: str,
    like: Mapping[str, Any] | None = None,
    weights_in: str | None = None,
) -> dict[str, Any]:
    """The part of a profile that a model reading the memory has to match; JSON values only.

    Args:
        weights_in: how weights are held, where that is not `dtype`.
        like: a stored profile to be compared with, which may be of an older version.
    """
    weights = str(like.get("weights", "")) if like else checkpoint.weights_fingerprint
    text = checkpoint.text_config
    rope = text.get("rope_parameters") or {
        "rope_theta": text.get("rope_theta"),
        "rope_scaling": text.get("rope_scaling"),
    }
    return {
        "family": checkpoint.family,
        "weights": checkpoint.weights_fingerprint_like(weights),
        "tokenizer": checkpoint.tokenizer_fingerprint,
        "rope": rope,
        "config": config_digest(checkpoint.config),
        "template": template_digest(checkpoint.folder),
        "dtype": dtype,
        "weights_in": weights_in,
        "init_prompt": init_prompt,
    }


def ingest_profile(
    model: Mapping[str, Any],
    method: "Method",
    fps: float,
    guidance_prompt: str,
    codec: str,
    pictures: str = "",
    frame_tokens: int | None = None,
) -> dict[str, Any]:
    """A whole profile: the model's part and everything the ingest decided.

    Args:
        frame_tokens: most visual tokens of a block; None where the model leaves no choice.
    """
    return {
        **model,
        "pictures": pictures,
        "codec": codec,
        "fps": fps,
        "frame_tokens": frame_tokens,
        "guidance_prompt": guidance_prompt,
        "threshold": method.threshold,
        "cut_on": method.cut_on,
        "min_frames": method.min_frames,
        "max_frames": method.max_frames,
        "max_seconds": method.max_seconds,
        "keep": method.keep,
        "keep_temperature": method.keep_temperature,
        "similarity": method.similarity,
        "zscore": method.zscore,
        "exact": method.exact,
        "summary": method.summary,
        "window": method.window,
        **{
            name: value
            for name, published in UNNAMED.items()
            if (value := getattr(method, name)) != published
        },
    }


def first_difference(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], fields: tuple[str, ...] | None = None
) -> str | None:
    """Name the first field in which two profiles differ, with both values, in words; None if none.

    What an older version did not note in `stored` cannot differ; a setting it did not have was off.

    Args:
        fields: look at these only, in this order; None looks at all.
    """
    for name in fields or tuple(sorted({*stored, *wanted})):
        if name in _NOTED_LATER and name not in stored:
            continue
        if stored.get(name) != wanted.get(name):
            word = _WORDS.get(name, name.replace("_", " "))
            return f"{word} {_short(stored.get(name))} there, {_short(wanted.get(name))} now"
    return None


def refuse_mismatch(
    name: str, stored: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str
) -> None:
    """Refuse to read a memory with a model that did not write it.

    Raises:
        StoreRefused: a field of MODEL_FIELDS differs.
    """
    if difference := first_difference(stored, wanted, MODEL_FIELDS):
        raise StoreRefused(f"{name} was ingested with another model: {difference}", remedy)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:36] + "..."
