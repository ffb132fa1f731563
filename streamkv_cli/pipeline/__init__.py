"""Ingest and answer: the two sentences this program is about."""
