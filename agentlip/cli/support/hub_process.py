"""The processes of a hub that runs here, known for certain before any signal is sent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ...workspace import processes, writer_lock
from ...workspace.server_file import read_server_file


class HubProcess:
    """One process of a hub. Its signals cannot reach another process that gets its id later (on Linux)."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError when there is no such process."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    @classmethod
    def find(cls, folder: Path) -> HubProcess | None:
        """The first process of the hub of this workspace; None when there is none that is certain."""
        pid = writer_lock.hub_process(folder)
        try:
            process = None if pid is None else cls(pid)
        except ProcessLookupError:
            return None
        # Asked again: only now is it certain that the descriptor is that of the holder.
        if process is None or writer_lock.hub_process(folder) != pid:
            return None
        return process if process._is_hub(folder) else None

    def _is_hub(self, folder: Path) -> bool:
        """Not one that holds the lock for a repair: a hub has written server.json, or is gunicorn and about to."""
        server = read_server_file(folder)
        if server is not None and server.get("pid") == self.pid:
            return True
        try:
            return b"gunicorn" in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False

    def send(self, how: int) -> None:
        """Send a signal. Raises ProcessLookupError when the process has ended."""
        if self._descriptor is None:
            os.kill(self.pid, how)
        else:
            signal.pidfd_send_signal(self._descriptor, how)

    def has_ended(self) -> bool:
        return not processes.is_running(self.pid)

    def workers(self, folder: Path) -> list[HubProcess]:
        """Its workers, where the system tells of them."""
        found = []
        for pid in writer_lock.users(folder) - {self.pid}:
            try:
                worker = HubProcess(pid)
            except ProcessLookupError:
                continue
            if processes.parent_of(pid) == self.pid:
                found.append(worker)
        return found
