"""The method of StreamKV (arXiv 2511.07278): pure functions on tensors, no files and no models."""
