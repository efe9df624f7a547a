"""The same tests of the live path in a process whose standard library is patched: greenlets in place of threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATCHED = "from gevent import monkey; monkey.patch_all(); import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_session", "test_tailer", "test_company", "test_follower", "test_model"])
def test_under_gevent(name: str, tmp_path: Path) -> None:
    if "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("threading"):
        pytest.skip("it is patched already")
    options = ["-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'patched'}"]
    command = [sys.executable, "-c", PATCHED, *options, str(HERE / f"{name}.py")]
    ended = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
