"""Measurements of a real broker process from outside: `python -m bench`, or `make bench`.

Nothing here is a test. Results are appended to `results.jsonl`; `RESULTS.md` is generated from it.
"""
