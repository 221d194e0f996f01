"""Bulk jobs past one machine: blocks of rows, their parts, and the Ray that makes parts of blocks."""
