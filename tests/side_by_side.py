"""Running the same thing many times at once: in threads of this process, or in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def in_threads(count: int, function: Callable[[int], Any]) -> list[Any]:
    """Call `function(number)` in `count` threads at once; what each returned, or the exception it raised."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(30)
        try:
            results[number] = function(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


class Script:
    """Python code in a process of its own: `imports` run at once, `code` when `go` is called."""

    def __init__(self, imports: str, code: str, *args: object) -> None:
        program = f"import sys\n{imports}\nprint('ready', flush=True)\nsys.stdin.readline()\n{code}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, args)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def ready(self) -> None:
        """Wait until the imports are done."""
        if self.stdout.readline() != "ready\n":
            raise AssertionError(self.process.communicate(timeout=30)[1])

    def go(self) -> None:
        self.stdin.write("go\n")
        self.stdin.flush()

    def result(self) -> str:
        """Wait for the end; what was printed, or AssertionError with the traceback."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out

    def kill(self) -> None:
        """SIGKILL, if it still runs, and collect it."""
        self.process.kill()
        self.process.communicate(timeout=30)


def in_processes(count: int, imports: str, code: str, *args: object) -> list[str]:
    """Run `code` in `count` processes at once; what each printed. `sys.argv[1]` is the process's number."""
    scripts = [Script(imports, code, number, *args) for number in range(count)]
    try:
        for script in scripts:
            script.ready()
        for script in scripts:
            script.go()
        return [script.result() for script in scripts]
    finally:
        for script in scripts:
            if script.process.poll() is None:
                script.kill()
