"""A whole cluster in one process from one seed: virtual time, network and disks, real nodes.

world, clocks, node_loop, executors    time, and who runs when
leveldb, disk, directory               what a disk keeps of what was written
fabric, network                        connections between nodes
machine                                a computer: clock, disk, at most one process
clients, oracle, checks                who uses the cluster, and what must hold
faults, seed, shorten, run             what goes wrong, one run, all runs
broken                                 builds with a fault of their own, which must be caught
"""
