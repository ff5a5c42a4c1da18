"""The configuration of a node: what can be set, where it was set, and whether it makes sense.

Loaded once by `load_config`, validated whole, frozen, and handed on by argument. Knows nothing of
the objects that are built from it; `cluster/node.py` and the command line call it.
"""

from cluster.config.effective import Setting, effective
from cluster.config.groups import ApiKey
from cluster.config.load import load_config
from cluster.config.mistakes import ConfigError, Mistake
from cluster.config.model import Config
from cluster.config.raft import Peer

__all__ = [
    "ApiKey",
    "Config",
    "ConfigError",
    "Mistake",
    "Peer",
    "Setting",
    "effective",
    "load_config",
]
