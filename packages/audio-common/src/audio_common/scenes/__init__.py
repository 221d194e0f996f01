"""Synthesised sound scenes: their sounds, their captions in eight languages, and what is heard in them."""
