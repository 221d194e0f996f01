"""The two towers, their checkpoints, and the encoding of sounds and texts."""
