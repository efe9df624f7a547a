"""The limit of open files of a process that is nothing but a hub."""

from __future__ import annotations

import resource
from contextlib import suppress


def allow_all() -> None:
    """Raise the soft limit, often 1,024, to the hard one: each connection takes a descriptor."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # "unlimited" may be more than the kernel grants
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
