"""The papers' systems as settings, on every dataset of their tables."""
