"""Numerical building blocks: rows, draws, sequences, graphs."""
