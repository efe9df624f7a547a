"""A disk of its own that is small enough to be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """Mount a file system of that size in memory; skips the test where that is not allowed."""
    mount = folder / "disk"
    mount.mkdir()
    how = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k,mode=0755", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(how, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing fits any more; the file to remove for room."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096) == 4096:
            pass
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"x"):
            pass
    return filler
