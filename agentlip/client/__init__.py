"""The Python client of a hub: every HTTP call, and the event log as an iterator.

It needs neither Flask nor SQLite nor a local file, and works in threads and under gevent. See docs/client.md.
"""

from .client import HubClient
from .errors import HubUnreachable, LogChanged, NoAnswer, OutcomeUnknown
from .stream import Stream

__all__ = ["HubClient", "HubUnreachable", "LogChanged", "NoAnswer", "OutcomeUnknown", "Stream"]
