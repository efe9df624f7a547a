"""`agentlip status`: what runs, and what the database holds."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip.cli.support.running import Running
from agentlip.client.address import url_in
from agentlip.client.tls import https_url
from agentlip.errors import StorageError
from agentlip.store.statistics import Statistics
from agentlip.workspace import writer_lock
from agentlip.workspace.server_file import write_server_file

from ..embedding.servers import Certificate
from .working_folder import WorkingFolder, json_of, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


def post_some(here: WorkingFolder) -> None:
    """Two channels, one topic, three messages: six events."""
    ids = [here.call("POST", "/api/v1/channels", {"name": name}).json()["channel"]["id"] for name in ("a", "b")]
    topic = here.call("POST", "/api/v1/topics", {"channel_id": ids[0], "title": "t"}).json()["topic"]["id"]
    for number in range(3):
        body = {"topic_id": topic, "sender": "s", "content_raw": f"{number}"}
        assert here.call("POST", "/api/v1/messages", body).status_code == 201


@pytest.mark.slow
def test_a_running_hub_is_described(here: WorkingFolder) -> None:
    pid = here.up("--workers", 2)
    post_some(here)
    done = here.run("--json", "status")
    assert (done.returncode, done.stderr) == (0, "")
    facts, health = json_of(done), here.call("GET", "/health").json()
    assert 0 <= facts.pop("uptime_seconds") < 60
    assert facts.pop("database_bytes") >= 4096
    assert facts.pop("wal_bytes") > 0
    assert facts == {
        "status": "running", "remark": None, "url": here.url, "pid": pid, "workers": 2,
        "started_at": here.server["started_at"], "workspace": str(here.root),
        "database": str(here.folder / "db.sqlite3"), "instance_id": health["instance_id"], "protocol_version": "v1",
        "db_id": health["db_id"], "schema_version": 1, "head": 6, "channels": 2, "topics": 1, "messages": 3,
    }  # fmt: skip
    text = here.run("status")
    assert text.returncode == 0
    for word in ("running", here.url, str(pid), health["db_id"], "KiB"):
        assert word in text.stdout
    assert here.server["auth_token"] not in text.stdout + done.stdout


def test_a_remote_hub_says_of_itself_what_health_says(here: WorkingFolder, tmp_path: Path) -> None:
    here.up()
    done = here.run("--url", here.url, "--json", "status", cwd=tmp_path.parent)
    facts, health = json_of(done), here.call("GET", "/health").json()
    assert done.returncode == 0
    assert {**health, "status": "running", "url": here.url} == facts | {"uptime_seconds": health["uptime_seconds"]}
    here.kill()
    gone = here.run("--url", facts["url"], "status")
    assert gone.returncode == 3
    assert facts["url"] in words_of(gone)


def test_a_stopped_hub_is_code_3(here: WorkingFolder) -> None:
    files = sorted(os.listdir(here.folder))
    done = here.run("--json", "status")
    facts = json_of(done)
    assert (done.returncode, done.stderr) == (3, "")
    assert (facts["status"], facts["remark"], facts["url"], facts["pid"]) == ("stopped", None, None, None)
    assert (facts["head"], facts["messages"]) == (0, 0)
    assert "stopped" in here.run("status").stdout
    assert sorted(os.listdir(here.folder)) == files


def test_a_left_over_server_json_is_told_of_and_the_counts_are_shown_all_the_same(here: WorkingFolder) -> None:
    pid = here.up()
    post_some(here)
    here.kill()
    done = here.run("--json", "status")
    facts = json_of(done)
    assert (done.returncode, facts["status"], facts["url"]) == (3, "stopped", None)
    assert facts["remark"] == f"server.json is left over from process {pid}, which is gone"
    assert (facts["head"], facts["channels"], facts["topics"], facts["messages"]) == (6, 2, 1, 3)


def test_another_database_is_found_by_its_setting(here: WorkingFolder) -> None:
    database = here.root / "elsewhere" / "hub.db"
    assert here.run("up", "--detach", DB=database).returncode == 0
    try:
        facts = json_of(here.run("--json", "status", DB=database))
        assert (facts["status"], facts["database"]) == ("running", str(database))
        assert here.run("status").returncode == 3
    finally:
        for pid in writer_lock.users(database.parent):
            os.kill(pid, signal.SIGKILL)


def test_a_server_json_of_another_hub_at_the_port_is_not_believed(here: WorkingFolder) -> None:
    here.up()
    write_server_file(here.folder, here.server | {"instance_id": "another"})
    done = here.run("--json", "status")
    assert (done.returncode, json_of(done)["status"]) == (3, "not answering")


def test_a_process_that_has_the_lock_and_does_not_answer_is_told_of(here: WorkingFolder) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        here.lock.parent.mkdir()
        here.lock.write_text(f"{other.pid}\n")
        facts = json_of(here.run("--json", "status"))
        other.kill()
    assert (facts["status"], facts["pid"]) == ("not answering", other.pid)
    assert facts["remark"] == "a process holds the lock; it may be starting, see hub.log"


def test_a_database_that_can_not_be_read_is_said(here: WorkingFolder) -> None:
    (here.folder / "db.sqlite3").write_bytes(b"not a database at all" * 100)
    done = here.run("--json", "status")
    assert (done.returncode, done.stderr) == (3, "")
    assert json_of(done)["remark"] == f"cannot read {here.folder / 'db.sqlite3'}: file is not a database"
    with pytest.raises(StorageError, match="cannot read"):
        Statistics.read(here.folder / "missing.sqlite3")
    assert not (here.folder / "missing.sqlite3").exists()


@pytest.mark.parametrize(
    "content",
    [{}, {"port": "x"}, {"port": True}, {"port": 0, "host": 7}, {"port": 99999}, {"port": 9, "host": "a b"}],
)
def test_a_server_json_that_makes_no_sense_is_no_hub(tmp_path: Path, content: dict[str, object]) -> None:
    write_server_file(tmp_path, content)
    running = Running.look(tmp_path)
    assert (running.url, running.holder, running.is_left_over) == (None, None, True)


@pytest.mark.slow
def test_a_hub_that_serves_tls_is_named_with_what_to_do(
    here: WorkingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate(tmp_path)
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--certfile {certificate.file} --keyfile {certificate.key}")
    here.start("up")
    url = f"https://127.0.0.1:{here.server['port']}"
    words = f"name it with `--url {url}` and its `--token`; SSL_CERT_FILE names an authority of your own"
    assert json_of(here.run("--json", "status"))["remark"] == f"the hub serves TLS: {words}"
    assert f"ok: server.json is of a hub that serves TLS; {words}\n" in here.run("doctor").stdout
    done = here.run("channel", "list")
    assert (done.returncode, f"serves TLS; {words}" in words_of(done)) == (3, True), done.stderr
    again = here.run("up")
    assert (again.returncode, url in again.stderr) == (10, True), again.stderr
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    token = f"@{here.folder / 'auth_token'}"
    done = here.run("--url", url, "--token", token, "--json", "status")
    assert (done.returncode, json_of(done)["url"]) == (0, url)
    assert here.run("down").returncode == 0


def test_a_port_that_speaks_no_tls_or_is_gone_is_none_that_does(here: WorkingFolder) -> None:
    here.up()
    assert https_url(url_in(here.server)) is None
    here.kill()
    assert https_url(url_in(here.server)) is None
    for port in (0, -1, 99999, "x", None, True):
        assert https_url(url_in({"port": port})) is None
