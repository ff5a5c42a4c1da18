"""Certificates: what they say, a small authority that makes them, and those that a port shows.

The only importer of `cryptography`. Knows nothing of sockets, queues or Raft.
"""
