"""A paper's tables: its runs, their numbers, and one document."""
