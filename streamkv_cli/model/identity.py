"""What of a checkpoint, besides its weights and words, decides what KV means.

Each part is a digest of settings, not of files: a file that was saved again by another version of
the library says the same in another order.
"""

import json
from pathlib import Path
from typing import Any

import xxhash

_MEANS_NOTHING = {
    "_name_or_path",
    "_attn_implementation_autoset",
    "architectures",
    "attn_implementation",
    "dtype",
    "name_or_path",
    "processor_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
"""Keys of a config that say where it came from, or that a profile names by itself."""

_PICTURES = ("video_preprocessor_config.json", "preprocessor_config.json")
_TEMPLATES = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


def config_digest(config: dict[str, Any]) -> str:
    """Of config.json: everything that the computation follows from, besides the weights."""
    return _digest(_meaning(config))


def pictures_digest(folder: Path) -> str:
    """Of how pictures are prepared for the vision tower."""
    return _digest([_meaning(_json(folder / name)) for name in _PICTURES])


def template_digest(folder: Path) -> str:
    """Of the chat template, wherever the checkpoint keeps it."""
    jinja = folder / "chat_template.jinja"
    found: list[Any] = [jinja.read_text(encoding="utf-8") if jinja.is_file() else None]
    found += [_json(folder / name).get("chat_template") for name in _TEMPLATES]
    return _digest(found)


def _meaning(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _meaning(v) for k, v in value.items() if k not in _MEANS_NOTHING}
    if isinstance(value, list):
        return [_meaning(item) for item in value]
    return value


def _json(path: Path) -> dict[str, Any]:
    """A settings file; one that is missing or does not read is left to whoever needs it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode())
