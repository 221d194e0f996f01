"""GRPO and supervised fine-tuning: losses, rollouts, run folder, curves."""
