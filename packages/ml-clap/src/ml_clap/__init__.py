"""Multilingual audio-text retrieval: train, evaluate and search (ML-CLAP, arXiv 2406.07012)."""

from audio_common import torchaudio_guard

torchaudio_guard.install()
