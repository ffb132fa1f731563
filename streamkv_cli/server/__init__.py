"""A server that keeps a model and a store's summaries in memory, and how others reach it."""
