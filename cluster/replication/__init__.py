"""Replication: PySyncObj behind our own journal, driver and applier. Its door is `Replica`."""

import _socket
import socket

import pysyncobj  # noqa: F401  # before anything else of it is imported

# PySyncObj 0.3.17 replaces `socket.inet_ntop` of the whole process by a function that only works
# on Windows (`win_inet_pton.py`, whose last line lost its indentation).
socket.inet_ntop = _socket.inet_ntop
