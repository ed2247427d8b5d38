"""Public logs from their owners: what there is, fetched and unpacked."""
