"""The demo world, its questions, and the small Video-LLM that is trained on it."""
