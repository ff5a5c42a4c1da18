"""Takes over what may change while the node runs: the API keys, and how much is logged.

Everything else that was changed is named, and waits for a restart. A configuration with a mistake
is refused as a whole, and what counts stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from cluster.config import ApiKey, Config, ConfigError
from cluster.config.model import keys
from cluster.logging import set_log_level
from cluster.server import audit
from cluster.watched_files import WatchedFiles

log = structlog.get_logger(__name__)

API_KEYS, LOG_LEVEL = "auth.api_keys", "monitoring.log_level"


class ConfigReload:
    """See the module. `replace_keys(keys)`: other keys count from now on; how many sessions that
    ended."""

    def __init__(self, config: Config, replace_keys: Callable[[Sequence[ApiKey]], int]) -> None:
        self._config = config
        self._replace_keys = replace_keys
        self._keys = config.auth.api_keys
        self._log_level = config.monitoring.log_level

    def start(self, files: WatchedFiles) -> None:
        """From now on the file is looked at, where there is one."""
        path = self._config.file
        if path is not None:
            files.watch("the configuration", [path], self.reload)
            self._take_over()  # it may have changed since it was read

    def reload(self) -> None:
        """Reads the configuration again, and takes over what may be."""
        log.info("the configuration is read again", file=str(self._config.file))
        self._take_over()

    def _take_over(self) -> None:
        try:
            new = self._config.read_again()
        except ConfigError as error:
            mistakes = [str(mistake) for mistake in error.mistakes]
            log.error("the configuration is not taken over", mistakes=mistakes)
            audit.keys_kept(mistakes)
            return
        if self._config.auth.enabled and new.auth.enabled:
            self._take_keys(new.auth.api_keys)
        if new.monitoring.log_level != self._log_level:
            self._log_level = new.monitoring.log_level
            set_log_level(self._log_level)
        waiting = [path for path in keys() if self._needs_restart(path, new)]
        if waiting:
            log.warning("changed settings wait for a restart", settings=waiting)

    def _take_keys(self, new: tuple[ApiKey, ...]) -> None:
        if new == self._keys:
            return
        old, self._keys = self._keys, new
        audit.keys_replaced(old, new, sessions_ended=self._replace_keys(new))

    def _needs_restart(self, path: str, new: Config) -> bool:
        if path == LOG_LEVEL or (path == API_KEYS and self._config.auth.enabled):
            return False
        return bool(_value(self._config, path) != _value(new, path))


def _value(config: Config, path: str) -> Any:
    group, _, key = path.partition(".")
    return getattr(getattr(config, group), key)
