"""What may be asked of a hub, with every check of the input: for host code, and for the HTTP API above it.

All methods may be called from any thread or greenlet, inside or outside Flask's contexts, and in any process that
has the application. Changes block until they are committed, at most about the write timeout; reads are inline and
short. Mistakes raise the classes of `agentlip.errors`: InvalidInput, NotFound, VersionConflict and so on.
"""

from __future__ import annotations

from .attachments import Attachments
from .channels import Channels
from .log import Log
from .messages import Messages
from .topics import Topics


class Commands(Channels, Topics, Messages, Attachments, Log):
    """All nouns as one object."""
