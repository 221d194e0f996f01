"""Rewards of rollouts and verdicts on answers; trainers and evaluators use the same."""
