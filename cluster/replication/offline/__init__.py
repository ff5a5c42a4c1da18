"""What is done to a data folder while no node runs on it: made of a backup, or left alone.

    alone        pure: what makes a node the only member of a new cluster
    restoring    a data folder of a backup
    looking      how far a node has come, to choose a survivor
    recovering   one surviving node goes on alone

None of it is ever done by a node itself.
"""
