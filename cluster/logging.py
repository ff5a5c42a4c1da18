"""How a node logs: structlog to stderr, one JSON object per line or text for people.

Nothing happens at import. `cluster/node.py` and the command line call `set_up_logging` once; every
other module asks `structlog.get_logger(__name__)` at its top, which stays lazy until the first
line. Records of the standard library's loggers (asyncio, pysyncobj) come out in the same shape.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from taskq.visible import visible

if TYPE_CHECKING:
    from cluster.config.groups import Monitoring

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def set_up_logging(
    monitoring: Monitoring, stream: TextIO | None = None, node_id: str | None = None
) -> None:
    """Send everything that is logged to `stream` (stderr by default) as `monitoring` says.

    Lines below `monitoring.log_level` are dropped early. `node_id`, if given, is in every line, so
    that the logs of a group can be read together. A second call replaces the first.
    """
    target = sys.stderr if stream is None else stream
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(node_id),
    ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *before],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(json_lines=monitoring.json_logging, colours=target.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[monitoring.log_level])
    # What was done to the cluster, and by whom, is written whatever else is not.
    logging.getLogger("audit").setLevel(logging.INFO)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A second call must reach the loggers that modules hold already.
        cache_logger_on_first_use=False,
    )


def set_log_level(level: str) -> None:
    """Changes the least important lines that are logged, by a word of `LEVELS`."""
    logging.getLogger().setLevel(LEVELS[level])


def _naming(node_id: str | None) -> structlog.typing.Processor:
    def name(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
        if node_id is not None:
            event.setdefault("node", node_id)
        return event

    return name


def _rendering(*, json_lines: bool, colours: bool) -> list[structlog.typing.Processor]:
    if json_lines:
        return [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(sort_keys=True),
        ]
    return [
        _show_controls,
        structlog.dev.ConsoleRenderer(
            colors=colours, pad_event_to=0, exception_formatter=_plain_traceback
        ),
    ]


def _show_controls(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Names that others chose must not steer the terminal; what is no text comes as its `repr`."""
    return {
        name: visible(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _plain_traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Plain: the rich ones show local variables, payloads and keys among them."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(visible(text.getvalue()))
