"""Retrieval and zero-shot metrics, and reports of them."""
