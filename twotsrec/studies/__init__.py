"""A paper's experiments: planned, trained, and held against the paper."""
