"""JSON log lines, and the redaction of tokens in the lines of the servers below us."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import orjson

from ..model import timestamp

_TOKEN = re.compile(r"(?i)(\btoken=)[^&\s\"'#]+")
_SERVER_LOGGERS = ("gunicorn.error", "gunicorn.access", "werkzeug", "gevent")


class JsonFormatter(logging.Formatter):
    """One JSON object per record; `extra={"fields": {...}}` replaces the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"ts": timestamp(int(record.created * 1000)), "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        if fields is not None:
            line |= fields
        else:
            line |= {"logger": record.name, "message": redact(record.getMessage())}
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode("utf-8", "replace")


class _Redaction(logging.Filter):
    """Rewrites the record itself, so that no handler, ours or not, sees a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "token=" in text.lower():
            record.msg, record.args = redact(text), None
        return True


def redact(text: str) -> str:
    """The text with the value of every `token` query parameter replaced."""
    return _TOKEN.sub(r"\1[redacted]", text)


_redaction = _Redaction()


def redact_server_logs() -> None:
    """Have request lines logged by gunicorn, Werkzeug and gevent redacted; calling it again changes nothing."""
    for name in _SERVER_LOGGERS:
        logging.getLogger(name).addFilter(_redaction)


def log_to_stderr(level: str) -> None:
    """The standalone hub's logging: the package's records as JSON lines on standard error."""
    logger = logging.getLogger("agentlip")
    logger.setLevel(level.upper())
    logger.propagate = False
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
