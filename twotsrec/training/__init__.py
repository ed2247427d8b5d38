"""Compiled updates, the loop around them, and what a run leaves on disk."""
