"""The code in docs/client.md, and that of the README for agents, runs as it stands."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentlip.client import HubClient

from ..examples.proxy import make_certificate
from ..running_hub import ROOT, Hub, eventually

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "client.md").read_text(), re.MULTILINE | re.DOTALL)

README_BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def block(words: str) -> str:
    """The one block that has these words."""
    (found,) = (each for each in BLOCKS if words in each)
    return str(found)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a workspace whose hub runs; its log is not empty."""
    root = tmp_path_factory.mktemp("project")
    (root / ".agentlip").mkdir()
    hub = Hub(root / ".agentlip", AUTH_TOKEN=None).start()
    with HubClient.discover(root) as client:
        client.create_topic(client.create_channel("general").channel.id, "first")
    yield root
    hub.stop()


def child(workspace: Path, code: str) -> subprocess.Popen[str]:
    options = {"cwd": workspace, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}"
    return subprocess.Popen([sys.executable, "-u", "-c", code], **options)  # type: ignore[call-overload, no-any-return]


def outcome(workspace: Path, code: str) -> str:
    process = child(workspace, code)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    return out


def interrupted(workspace: Path, code: str, when: Callable[[], bool]) -> None:
    process = child(workspace, code)
    try:
        eventually(when, 20, "what the code does")
    finally:
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=10)[1]
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_every_block_is_run_here() -> None:
    assert len(BLOCKS) == 7


def test_the_first_block(workspace: Path) -> None:
    assert re.fullmatch(r"msg_\w+ \d+\n", outcome(workspace, block("print(sent.message.id")))


def test_a_certificate(workspace: Path, tmp_path: Path) -> None:
    try:
        make_certificate(tmp_path)
    except FileNotFoundError:
        pytest.skip("the program openssl is not here")
    (workspace / "hub.pem").write_bytes((tmp_path / "fullchain.pem").read_bytes())
    assert outcome(workspace, f"token = 'x'\n{block('cafile')}\nprint(hub)") == "HubClient('https://hub.example')\n"


@pytest.mark.parametrize(
    ("edits", "printed"),
    [(0, ""), (1, "somebody was faster; it has version 2\n")],
    ids=["done", "conflict"],
)
def test_the_errors(workspace: Path, edits: int, printed: str) -> None:
    with HubClient.discover(workspace) as client:
        topic = client.topics(client.channels()[0].id).topics[0].id
        message = client.post_message(topic, "me", "old").message.id
        for _ in range(edits):
            client.edit(message, "other")
    before = f"from agentlip.client import HubClient\nhub, message_id = HubClient.discover(), {message!r}\n"
    assert outcome(workspace, before + block("OutcomeUnknown")) == printed


def test_the_stream(workspace: Path) -> None:
    process = child(workspace, block("hub.stream(after=0)"))
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert line.startswith("1 channel.created {'channel': {'id': 'ch_")


def test_the_checkpoint(workspace: Path) -> None:
    """Interrupted and started again it has every event once."""
    state = workspace / "state.sqlite3"

    def count() -> int:
        with sqlite3.connect(state) as database:
            try:
                return int(database.execute("SELECT count(*) FROM seen").fetchone()[0])
            except sqlite3.OperationalError:
                return 0

    with HubClient.discover(workspace) as client:
        for name in ("c1", "c2"):
            head = client.create_channel(name).event_id
            interrupted(workspace, block("state.sqlite3"), lambda head=head: count() == head)  # type: ignore[misc]


def test_asyncio(workspace: Path) -> None:
    process = child(workspace, block("AsyncHubClient"))
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=10)[1]
    assert re.fullmatch(r"\d+ topic.created\n", line)
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_gevent(workspace: Path) -> None:
    assert outcome(workspace, block("monkey") + "print(HubClient.discover().ping()['pong'])") == "True\n"


def test_the_ten_lines_of_the_readme(workspace: Path) -> None:
    code = README_BLOCKS[0]
    assert len(code.splitlines()) == 10
    process = child(workspace, code)
    try:
        with HubClient.discover(workspace) as client:
            topic = client.topic("general/Echo", create=True)
            eventually(lambda: _answered(client, topic.id), 20, "an answer")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)


def _answered(client: HubClient, topic_id: str) -> bool:
    """Post until the agent, which may still be starting, has answered."""
    client.post_message(topic_id, "me", "Hello?")
    answers = [each.content_raw for each in client.iter_messages(topic_id=topic_id) if each.sender == "echo"]
    return "You said: Hello?" in answers
