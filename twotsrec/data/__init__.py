"""From a table on disk to batches; NumPy on the host, except `feeds`."""
