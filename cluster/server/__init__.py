"""The ports of a node: sessions with clients and workers, waiting requests, metrics.

Knows the replicated state only as `replica.Replica`; built and wired by `cluster/node.py`.
"""
