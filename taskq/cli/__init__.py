"""The command line: thin over the client, the worker and (if installed) the node."""
