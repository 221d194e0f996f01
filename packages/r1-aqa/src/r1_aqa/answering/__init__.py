"""Asking a finished model questions about sounds."""
