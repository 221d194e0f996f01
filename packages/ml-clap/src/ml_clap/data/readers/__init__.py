"""Readers of published data sets, labelled folders and Tux Paint's sounds."""
