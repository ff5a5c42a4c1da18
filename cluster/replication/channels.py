"""What a message between two nodes is for: its first byte."""

from __future__ import annotations

RAFT = b"\0"  # the driver of the core
FOUNDING = b"\1"  # until the node belongs to a cluster
SNAPSHOT = b"\2"  # a state on its way to a node that fell behind
FORWARD = b"\3"  # requests of clients and their answers
NOTE = b"\4"  # what a node tells about itself: address for clients, free space
MEMBERS = b"\5"  # who is a member, and where the sender is reached

CHANNELS = frozenset((RAFT, FOUNDING, SNAPSHOT, FORWARD, NOTE, MEMBERS))
