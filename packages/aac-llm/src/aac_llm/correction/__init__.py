"""Correcting captions with a second language model."""
