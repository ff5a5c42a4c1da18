"""Attacks on a running cluster: whoever has no right to get in tries to, on every port, and a
well-behaved client is served all the time.

    python -m chaos.attack     runs them and keeps the table (SECURITY.md)

scene      the cluster, its keys and certificates; what its nodes hold
stranger   one connection of somebody who knows the protocol
rows       keys, queues, peers, tls, noise, crowds: the attacks, each a row of the table
run        one after the other, measured; page: the table
"""
