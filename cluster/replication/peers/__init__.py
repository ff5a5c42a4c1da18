"""How the members of a group reach each other: opaque messages over authenticated connections.

Nothing here knows Raft, msgpack or PySyncObj: bytes go in at one node and come out at another.
`frames`, `introduction` and `handshake` are pure; `network.PeerNetwork` is what a node makes.
"""
