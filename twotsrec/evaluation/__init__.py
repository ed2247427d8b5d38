"""Ranking of held-out items, metrics by group, intervals."""
