"""Scores of captions, comparisons of two systems, reports and pages."""
