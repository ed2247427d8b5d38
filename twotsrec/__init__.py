"""Recommenders that serve people with little history, in functional JAX."""

__version__ = '0.1.0'
