"""Training of captioners: loop, validation, memory, curves."""
