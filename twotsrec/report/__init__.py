"""Finished runs as one page, or as tables."""
