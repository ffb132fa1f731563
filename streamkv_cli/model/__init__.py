"""A Hugging Face Video-LLM behind one small interface; importing this package loads no library."""
