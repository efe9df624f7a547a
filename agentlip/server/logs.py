"""JSON log lines, and the redaction of tokens in the lines of the servers below us."""

from __future__ import annotations

import logging
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from ..model import timestamp
from .log_stream import LogStream, LogWriter

_TOKEN = re.compile(r"(?i)(\btoken=)[^&\s\"'#]+")
_package = logging.getLogger("agentlip")
_own: logging.StreamHandler[Any] | None = None
_SERVER_LOGGERS = ("gunicorn.error", "gunicorn.access", "werkzeug", "gevent")


class JsonFormatter(logging.Formatter):
    """One JSON object per record; `extra={"fields": {...}}` replaces the message."""

    def format(self, record: logging.LogRecord) -> str:
        line = _line(record.created, record.levelname.lower())
        fields = getattr(record, "fields", None)
        if fields is not None:
            line |= fields
        else:
            line |= {"logger": record.name, "message": redact(record.getMessage())}
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode("utf-8", "replace")


class ReadableFormatter(logging.Formatter):
    """A short line for a person who looks on: `12:00:00 POST /api/v1/messages 201, 1.2 ms`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        if fields is None:
            words = f"{record.levelname.lower()}: {redact(record.getMessage())}"
        elif "event" in fields:
            kind = "Stream" if fields["path"].endswith("/stream") else "WebSocket"
            words = f"{kind} {fields['event']} {fields['path']} {fields.get('code', '')}"
        else:
            words = f"{fields['method']} {fields['path']} {fields['status']}, {fields['duration_ms']:g} ms"
        shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words.rstrip())
        lines = [time.strftime("%H:%M:%S ", time.localtime(record.created)) + shown]
        if record.exc_info:
            lines.append(redact(self.formatException(record.exc_info)))
        return "\n".join(lines)


def _line(created: float, level: str) -> dict[str, Any]:
    return {"ts": timestamp(int(created * 1000)), "level": level}


def log_fields(logger: logging.Logger, message: str, fields: dict[str, Any]) -> None:
    """Log the fields of a request or connection at level info, which the caller has checked.

    A log record with its stack of handlers costs 30 us, a tenth of a whole request. Where the hub logs
    by itself, and nobody has added a handler, the same line is written without one.
    """
    raw = getattr(_own.stream, "buffer", None) if _own is not None else None
    if raw is not None and _is_untouched(logger):
        with suppress(OSError):  # a full disk, a reader that went away: the request itself goes on
            raw.write(orjson.dumps(_line(time.time(), "info") | fields, option=orjson.OPT_APPEND_NEWLINE))
            raw.flush()
        return
    # Made by hand: Logger.info would look for the caller's file and line, which is always this one.
    record = logging.LogRecord(logger.name, logging.INFO, "", 0, message, (), None)
    record.fields = fields
    logger.handle(record)


def _is_untouched(logger: logging.Logger) -> bool:
    """Whether a record would pass through our handler alone, and unchanged."""
    if _own is None or _package.handlers != [_own] or logger.handlers or not logger.propagate:
        return False
    return not (logger.filters or _own.filters or _own.level) and type(_own.formatter) is JsonFormatter


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
    """The standalone hub's logging: the package's records on standard error, as JSON, or short for a terminal."""
    global _own
    _package.setLevel(level.upper())
    _package.propagate = False
    if _own is None:
        never_block("stderr")
        _own = logging.StreamHandler(sys.stderr)
        _own.setFormatter(ReadableFormatter() if sys.stderr.isatty() else JsonFormatter())
        _package.addHandler(_own)


def never_block(name: str, own_file: Path | None = None) -> None:
    """Have `sys.stdout` or `sys.stderr` never wait for a reader; one that somebody has replaced stays.

    `own_file` is limited in size, if that is where it leads.
    """
    stream = getattr(sys, name)
    if stream is not None and stream is getattr(sys, f"__{name}__"):
        with suppress(OSError, ValueError):  # closed, or no descriptor at all
            setattr(sys, name, LogStream(LogWriter(stream.fileno(), own_file)))


def flush() -> None:
    """Write what a reader that was slow has left waiting."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, LogStream):
            stream.flush()
