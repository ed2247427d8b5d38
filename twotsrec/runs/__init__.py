"""Runs: configurations trained, reported, compared and served."""
