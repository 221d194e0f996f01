"""Indexing sound archives and searching them."""
