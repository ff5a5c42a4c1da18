"""Backup files: what is in one, how it is written whole, and how it is read and checked.

    file_format   pure: the bytes of a file
    writing       a file that is there whole, or not at all
    reading       a file's chunks, checked; what they hold, counted
    contents      what is counted: the pairs of a state

No broker is needed for any of it. `taskq/client/backup.py` fetches one, `cluster/recovery/` makes a
data folder of one.
"""
