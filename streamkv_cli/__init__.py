"""StreamKV: a persistent, compressed KV memory of long videos for Video-LLMs."""

__version__ = "0.1.0"
