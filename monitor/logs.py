"""Logs on stderr: one JSON object a line on a pipe, readable lines on a terminal.

What libraries log through `logging` takes the same way out. Secrets do not: values under telling keys and passwords in addresses
are masked, and tracebacks never show local variables.
"""

import logging
import re
from typing import Final, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

MASK: Final = "***"
SECRET_KEY: Final = re.compile(r"passw|secret|token|authorization|api_?key|credential|sasl_plain", re.IGNORECASE)
SECRET_IN_ADDRESS: Final = re.compile(r"(?<=://)[^/\s@]*(?=@)")

NOISY: Final = {"kafka": logging.CRITICAL, "httpx": logging.WARNING, "httpcore": logging.WARNING}
"""Libraries that log each request or heartbeat at `info`: one line of theirs a second says nothing to an operator. Kafka's client repeats
errors too, traceback and all, at each of its retries; whatever comes of them is in an error of ours."""


def configure(level: str, stream: TextIO) -> None:
    """Sets up structlog and `logging` for the process. `level` is debug, info, warning or error."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.ExtraAdder(), mask_secrets],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(stream.isatty())],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library, quiet in NOISY.items():
        logging.getLogger(library).setLevel(max(quiet, root.level))
    logging.captureWarnings(True)


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event without what nobody should find in a log."""
    for key, value in event.items():
        if SECRET_KEY.search(key):
            event[key] = MASK
        elif isinstance(value, str) and "://" in value:
            event[key] = SECRET_IN_ADDRESS.sub(MASK, value)
    return event


def _renderers(terminal: bool) -> list[Processor]:
    if terminal:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
