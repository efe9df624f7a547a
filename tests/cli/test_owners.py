"""Workspaces of other users, and open ones: what root makes there is their owner's, and nobody else is trusted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agentlip.cli.commands.init import make_workspace
from agentlip.config import Settings
from agentlip.errors import ConfigError, StorageError
from agentlip.server.access import signed_out
from agentlip.store.database import Database
from agentlip.store.peers import Peers
from agentlip.workspace.login_codes import make_login_code
from agentlip.workspace.server_file import read_server_file, write_server_file

from ..running_hub import ROOT
from .working_folder import WorkingFolder, json_of, working_folder

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users may look into, unlike those of pytest."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder).resolve()


@pytest.fixture
def service(public_folder: Path) -> Iterator[WorkingFolder]:
    """The workspace of a service user; commands are run by root."""
    root = public_folder / "service"
    root.mkdir()
    os.chown(root, NOBODY, NOBODY)
    with working_folder(root) as here:
        yield here


def run_as_nobody(here: WorkingFolder, code: str) -> subprocess.CompletedProcess[str]:
    """Python that was started by root, which may read the sources, and is the service user from then on."""
    imports = "import os, sys, agentlip.cli.commands.up, agentlip.server.app, agentlip.cli.commands.doctor"
    program = f"{imports}\nos.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=here.environment() | {"HOME": str(here.root)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def foreign(here: WorkingFolder) -> list[str]:
    """What is in the workspace and does not belong to its user."""
    return [str(path) for path in [here.folder, *here.folder.rglob("*")] if path.lstat().st_uid != NOBODY]


@pytest.mark.slow
@as_root
def test_what_root_makes_in_a_service_users_workspace_is_the_service_users(service: WorkingFolder) -> None:
    for command in (("init",), ("token", "rotate"), ("doctor",), ("doctor", "--repair"), ("backup", "copy"),
                    ("restore", "copy"), ("token", "show")):  # fmt: skip
        done = service.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert foreign(service) == [], command
    service.up()
    assert json_of(service.run("--json", "ui"))["url"]
    topic = service.call("POST", "/api/v1/channels", {"name": "general"})
    assert topic.status_code == 201
    assert foreign(service) == []
    assert list((service.folder / "db.sqlite3-peers").iterdir())
    assert service.run("down").returncode == 0
    assert foreign(service) == []
    done = run_as_nobody(
        service,
        f"from agentlip import create_app\nsettings = {{'AGENTLIP_DB': {str(service.folder / 'db.sqlite3')!r}}}\n"
        "app = create_app(settings)\nprint(app.extensions['agentlip'].create_channel('c').event_id)",
    )
    assert done.stdout == "2\n", done.stderr


@as_root
def test_a_login_link_of_root_works_at_the_hub_of_the_service_user(service: WorkingFolder) -> None:
    assert service.run("init").returncode == 0
    code = make_login_code(service.folder)
    done = run_as_nobody(
        service,
        f"from pathlib import Path\nfrom agentlip.workspace.login_codes import take_login_code\n"
        f"print(take_login_code(Path({str(service.folder)!r}), {code!r}))",
    )
    assert done.stdout == "True\n", done.stderr


@as_root
def test_a_session_that_ended_at_roots_hub_is_ended_for_the_service_user_too(service: WorkingFolder) -> None:
    assert service.run("init").returncode == 0
    signed_out.end(service.folder, "a session", 600)
    assert foreign(service) == []
    os.chown(service.folder / "signed_out", 0, 0)
    assert f"error: {service.folder / 'signed_out'} belongs to root" in service.run("doctor").stdout


@pytest.mark.slow
@as_root
def test_doctor_finds_files_of_others_and_gives_them_back(service: WorkingFolder) -> None:
    assert service.run("init").returncode == 0
    make_login_code(service.folder)
    strays = [
        service.folder / "auth_token",
        service.folder / "login_codes",
        *(service.folder / "login_codes").iterdir(),
    ]
    for path in strays:
        os.chown(path, 0, 0)
    done = service.run("doctor")
    assert done.returncode == 1
    for path in strays:
        assert f"error: {path} belongs to root, and not to nobody" in done.stdout
    assert service.run("doctor", "--repair").returncode == 0
    assert foreign(service) == []


@as_root
@pytest.mark.parametrize("what", ["folder", "auth_token"])
def test_what_belongs_to_another_user_is_refused(service: WorkingFolder, what: str) -> None:
    """Another user has made it, and root or the service user is to run in it."""
    assert service.run("init").returncode == 0
    other = 12345
    os.chown(service.folder if what == "folder" else service.folder / what, other, other)
    os.chmod(service.folder, 0o755)
    os.chmod(service.folder / "auth_token", 0o644)
    done = run_as_nobody(
        service,
        "from pathlib import Path\nfrom agentlip.errors import ConfigError\n"
        "from agentlip.workspace.folder import prepare_folder\n"
        "from agentlip.workspace.token import load_or_make_token\n"
        f"folder = Path({str(service.folder)!r})\n"
        "try:\n    prepare_folder(folder); load_or_make_token(folder); print('taken')\n"
        "except ConfigError as error:\n    print(error)",
    )
    assert "belongs to user 12345" in done.stdout, done.stdout + done.stderr


@as_root
def test_a_server_json_of_another_user_is_not_believed(service: WorkingFolder) -> None:
    assert service.run("init").returncode == 0
    write_server_file(service.folder, {"port": 1, "instance_id": "x"})
    assert read_server_file(service.folder) is not None
    os.chown(service.folder / "server.json", 12345, 12345)
    assert read_server_file(service.folder) is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / ".agentlip"
    settings = Settings.load({"AGENTLIP_DB": str(folder / "db.sqlite3")})
    make_workspace(settings)
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=rf"others may write to the folder .* \(mode {mode:04o}\)"):
        make_workspace(settings)
    folder.chmod(0o700)
    make_workspace(settings)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o604])
def test_a_token_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with working_folder(tmp_path) as here:
        here.make_workspace()
        (here.folder / "auth_token").chmod(mode)
        done = here.run("up", "--detach")
        assert done.returncode == 1
        assert f"others may use it (mode {mode:04o})" in done.stderr
        assert here.run("token", "rotate").returncode == 0
        here.up()


def test_no_link_is_followed(tmp_path: Path) -> None:
    with working_folder(tmp_path / "mine") as here:
        (tmp_path / "mine").mkdir()
        here.make_workspace()
        theirs = tmp_path / "theirs"
        shutil.copytree(here.folder, theirs)
        for name, words in {
            "auth_token": "it is a symbolic link",
            "db.sqlite3": "it is a symbolic link; name the file itself",
        }.items():
            (here.folder / name).rename(tmp_path / name)
            (here.folder / name).symlink_to(theirs / name)
            done = here.run("up", "--detach")
            assert done.returncode == 1
            assert words in done.stderr
            (here.folder / name).unlink()
            (tmp_path / name).rename(here.folder / name)
        (theirs / "server.json").write_text(json.dumps({"port": 1}))
        (here.folder / "server.json").symlink_to(theirs / "server.json")
        assert read_server_file(here.folder) is None
        here.up()
        assert not (here.folder / "server.json").is_symlink()
        assert json.loads((theirs / "server.json").read_text()) == {"port": 1}


def test_a_link_in_the_place_of_the_database_is_refused_whoever_opens_it(tmp_path: Path) -> None:
    (tmp_path / "db.sqlite3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="it is a symbolic link"):
        Database(tmp_path / "db.sqlite3").prepare()
    assert not (tmp_path / "elsewhere").exists()


def test_the_lock_of_the_database_is_named_when_it_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "db.sqlite3-lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"cannot open .*/db\.sqlite3-lock: it is a symbolic link$"):
        Database(tmp_path / "db.sqlite3").prepare()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("how", ["a link", "open to others"])
def test_a_peers_folder_that_is_not_ones_own_is_left_alone(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "db.sqlite3-peers"
    (tmp_path / "theirs").mkdir()
    if how == "a link":
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    peers = Peers(folder, lambda: None)
    peers.start()
    peers.ring()
    peers.stop()
    assert "No wake-ups between processes" in caplog.text
    assert os.listdir(tmp_path / "theirs") == []
    assert os.listdir(folder) == []
