"""Experiments that try to break the promises: recorded, checked, and kept as results."""
