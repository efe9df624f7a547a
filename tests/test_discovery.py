"""How the workspace is found, and what its files tell: find_root, server.json, a new token."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agentlip.errors import ConfigError
from agentlip.workspace import finding
from agentlip.workspace.finding import database_path, find_root
from agentlip.workspace.server_file import read_server_file, write_server_file
from agentlip.workspace.small_file import check_writable
from agentlip.workspace.token import load_or_make_token, replace_token

from .side_by_side import in_threads


def make_workspace(root: Path) -> Path:
    """A folder that counts as a workspace; the database is empty."""
    (root / ".agentlip").mkdir(parents=True)
    (root / ".agentlip" / "db.sqlite3").touch()
    return root.resolve()


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """Two folders below one that may become a workspace."""
    below = tmp_path / "root" / "a" / "b"
    below.mkdir(parents=True)
    return below


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users may look into, unlike those of pytest."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder).resolve()


def test_the_root_is_the_nearest_folder_from_here_upwards(tmp_path: Path, below: Path) -> None:
    root = make_workspace(tmp_path / "root")
    assert [find_root(folder) for folder in (below, below.parent, root)] == [root] * 3
    inner = make_workspace(below.parent)
    assert [find_root(folder) for folder in (below, below.parent, root)] == [inner, inner, root]


def test_without_a_workspace_there_is_no_root_and_the_database_would_be_made_here(below: Path) -> None:
    assert find_root(below) is None
    assert database_path(below) == below / ".agentlip" / "db.sqlite3"


def test_the_database_path_is_that_of_the_root(tmp_path: Path, below: Path) -> None:
    root = make_workspace(tmp_path / "root")
    assert database_path(below) == root / ".agentlip" / "db.sqlite3"


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere"), lambda path: None])
def test_a_folder_without_a_database_is_passed_over(tmp_path: Path, below: Path, make: Callable[[Path], None]) -> None:
    root = make_workspace(tmp_path / "root")
    (below / ".agentlip").mkdir()
    make(below / ".agentlip" / "db.sqlite3")
    assert find_root(below) == root


def test_the_search_ends_at_the_home_folder(tmp_path: Path, below: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_workspace(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "root"))
    assert find_root(below) is None
    root = make_workspace(tmp_path / "root")
    assert find_root(below) == root  # the home folder itself may be one


@pytest.mark.skipif(os.path.ismount("/dev/shm") is False, reason="needs a second file system")
def test_the_search_ends_at_the_border_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The border here is between /dev/shm and /dev: nothing above it is looked at.
    looked_at: list[Path] = []
    ask = finding._is_root_of_ours
    monkeypatch.setattr(finding, "_is_root_of_ours", lambda folder: looked_at.append(folder) or ask(folder))
    assert find_root(Path("/dev/shm")) is None
    assert looked_at == [Path("/dev/shm")]


def test_a_link_to_a_folder_is_followed_before_the_search(tmp_path: Path, below: Path) -> None:
    root = make_workspace(tmp_path / "root")
    (tmp_path / "link").symlink_to(below)
    assert find_root(tmp_path / "link") == root


def test_a_folder_that_is_gone_has_no_root(tmp_path: Path) -> None:
    make_workspace(tmp_path / "root")
    assert find_root(tmp_path / "missing" / "below") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_the_workspace_of_another_user_is_passed_over(public_folder: Path) -> None:
    below = public_folder / "a" / "b"
    theirs = make_workspace(below)
    root = make_workspace(public_folder)
    for path in (theirs / ".agentlip", theirs / ".agentlip" / "db.sqlite3"):
        os.chown(path, 4321, 4321)
    assert find_root(below) == theirs  # root may use all
    for path in (root / ".agentlip", root / ".agentlip" / "db.sqlite3"):
        os.chown(path, 1234, 1234)
    os.seteuid(1234)
    try:
        assert find_root(below) == root
    finally:
        os.seteuid(0)


def test_server_json_is_read_back(tmp_path: Path) -> None:
    content = {"instance_id": "me", "port": 8787}
    write_server_file(tmp_path, content)
    assert read_server_file(tmp_path) == content


@pytest.mark.parametrize("content", [None, b"", b"half {", b"[]", b"null", b"7", b"\xff\xfe"])
def test_a_server_json_that_makes_no_sense_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "server.json").write_bytes(content)
    assert read_server_file(tmp_path) is None


def test_a_server_json_of_thousands_of_brackets_is_none(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("[" * 200_000)
    assert read_server_file(tmp_path) is None


def test_a_new_token_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    old = load_or_make_token(tmp_path)
    new = replace_token(tmp_path)
    assert new != old
    assert len(bytes.fromhex(new)) == 32
    assert load_or_make_token(tmp_path) == new
    assert stat.S_IMODE((tmp_path / "auth_token").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["auth_token"]


def test_a_new_token_also_replaces_a_damaged_or_missing_file(tmp_path: Path) -> None:
    assert replace_token(tmp_path) == load_or_make_token(tmp_path)
    (tmp_path / "auth_token").write_text("short")
    assert replace_token(tmp_path) == load_or_make_token(tmp_path)


def test_a_reader_never_sees_half_a_token_while_it_is_replaced(tmp_path: Path) -> None:
    load_or_make_token(tmp_path)

    def replace_or_read(number: int) -> set[str]:
        act = replace_token if number == 0 else load_or_make_token
        return {act(tmp_path) for _ in range(100)}

    made, *seen = in_threads(4, replace_or_read)
    assert len(made) == 100
    assert all({len(token) for token in tokens} == {64} for tokens in seen)


def test_a_token_that_can_not_be_written_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write the token file"):
        replace_token(tmp_path / "missing")
    (tmp_path / "auth_token").mkdir()
    with pytest.raises(ConfigError, match="cannot write the token file"):
        replace_token(tmp_path)
    assert os.listdir(tmp_path) == ["auth_token"]


def test_a_folder_is_writable_or_a_config_error_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ConfigError, match="cannot write to"):
        check_writable(tmp_path / "missing")
