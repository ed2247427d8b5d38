"""A service over HTTP: lists, similar items, scores, and states that move."""
