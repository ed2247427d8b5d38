"""2TS, its ablations and controls (2TS sec. 3-4)."""
