"""The disk of one node: the Raft log, the state map, and the folder that holds them.

Only this package imports LevelDB. It knows entries and keys as bytes; it knows nothing of tasks,
of Raft messages or of the event loop. The replication driver calls it, blocking, from executor
threads; `docs/internals/storage.md` describes every record and every decision at opening.
"""
