"""Duties of the leader: one file each, a pure `propose` and when to look again; `runner.py` runs
them. They know the state only as the machine, and the log only as a way to propose."""
