"""One broker node: storage, replication, server, monitors; `node.py` builds it."""
