"""Recommendations from a trained model."""
