"""Losses bound to models: of sampled candidates, of behaviors, of streams."""
