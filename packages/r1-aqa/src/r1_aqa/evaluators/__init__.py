"""Answers to a benchmark, their scores, statistics and reports."""
