"""A whole cluster in one process from one seed: virtual time, network and disks, real nodes.

world, clocks, node_loop, executors    time, and who runs when
leveldb, disk, directory               what a disk keeps of what was written
fabric, network                        connections between nodes
machine                                a computer: clock, disk, at most one process
lines, server                          connections of clients, and the real server behind them
clients, caller, tasks                 who uses the cluster, and what for
oracle, order, checks, promises        what must hold
plan, faults, hunts, rivals            what goes wrong
operator, member_hunts                 changes of the members meanwhile
seed, shorten, run, page               one run, all runs, what is told of them
broken, broken_members                 builds with a fault of their own, which must be caught
"""
