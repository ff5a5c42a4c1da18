"""A disk that can lose power, be slow, full or broken, in front of a node's data folder.

The C sources are a library that is loaded before libc; here it is built, put in front of a node,
and told what to do. See `disk.h` for what it sees, `chaos/live/power.py` for the power cut.
"""
