"""Contrastive training: loss, optimizer, loop, run folder, validation."""
