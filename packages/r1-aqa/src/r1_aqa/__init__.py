"""r1-aqa: reinforcement learning for audio question answering."""
