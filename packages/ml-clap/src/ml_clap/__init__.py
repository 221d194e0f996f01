"""Multilingual audio-text retrieval: train, evaluate and search (ML-CLAP, arXiv 2406.07012)."""
