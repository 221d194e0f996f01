"""aac-llm: captions from any sound."""
