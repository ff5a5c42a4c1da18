"""Replication: PySyncObj behind our own journal, driver and applier. Its door is `Replica`."""
