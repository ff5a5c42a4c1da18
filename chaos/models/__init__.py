"""Small explicit-state models of the rules of replication; see `README.md`."""
