"""The benchmark still runs against the hub as it is: its figures are not judged here, but that it has some is."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from .running_hub import ROOT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="the load client is written in C")
def test_a_group_of_the_benchmark_is_measured() -> None:
    ended = subprocess.run([sys.executable, "benchmarks/run.py", "--only", "latency", "--repeat", "1"], cwd=ROOT,
                           capture_output=True, text=True, timeout=120)  # fmt: skip
    assert "FAILED" not in ended.stdout + ended.stderr
    assert "post to delivery, across workers" in ended.stdout
    assert ended.stdout.splitlines()[-2].split() == ["gaps", "0", "value", "<=", "0", "yes"]
