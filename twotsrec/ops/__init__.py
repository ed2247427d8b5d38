"""Numerical building blocks: rows, sampling, sequences."""
