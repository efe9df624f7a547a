"""The files beside the database: folder, token, server.json."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip.errors import ConfigError
from agentlip.workspace.folder import prepare_folder
from agentlip.workspace.server_file import remove_server_file, write_server_file
from agentlip.workspace.token import load_or_make_token

from .side_by_side import in_processes, in_threads

IMPORTS = "from pathlib import Path; from agentlip.workspace.token import load_or_make_token"
MAKE = "print(load_or_make_token(Path(sys.argv[2])))"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_folder_is_made_with_mode_0700(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / ".agentlip")
    assert mode_of(tmp_path / "a" / ".agentlip") == 0o700


def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_folder(tmp_path)
    assert mode_of(tmp_path) == 0o755


def test_a_file_in_the_folders_place_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make the folder"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        prepare_folder(tmp_path / "file" / "below")


@pytest.mark.usefixtures("umask")
def test_the_token_file_has_mode_0600_and_64_hex_characters(tmp_path: Path) -> None:
    token = load_or_make_token(tmp_path)
    assert len(bytes.fromhex(token)) == 32
    assert mode_of(tmp_path / "auth_token") == 0o600
    assert os.listdir(tmp_path) == ["auth_token"]


def test_the_token_is_made_once_and_survives(tmp_path: Path) -> None:
    assert load_or_make_token(tmp_path) == load_or_make_token(tmp_path)


def test_two_folders_have_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert load_or_make_token(tmp_path) != load_or_make_token(tmp_path / "b")


def test_eight_threads_get_the_same_token(tmp_path: Path) -> None:
    tokens = in_threads(8, lambda _: load_or_make_token(tmp_path))
    assert set(tokens) == {(tmp_path / "auth_token").read_text().strip()}
    assert os.listdir(tmp_path) == ["auth_token"]


def test_eight_processes_get_the_same_token(tmp_path: Path) -> None:
    tokens = in_processes(8, IMPORTS, MAKE, tmp_path)
    assert set(tokens) == {(tmp_path / "auth_token").read_text()}
    assert os.listdir(tmp_path) == ["auth_token"]


def test_a_token_written_by_hand_is_used_without_the_blanks_around_it(tmp_path: Path) -> None:
    (tmp_path / "auth_token").write_text("  my-own-token-0123456789 \n")
    assert load_or_make_token(tmp_path) == "my-own-token-0123456789"


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"two words in one file", b"\xff\xfe" * 20, b"a" * 15])
def test_a_token_file_without_a_token_is_a_config_error_that_does_not_show_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "auth_token").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no token") as caught:
        load_or_make_token(tmp_path)
    assert "words" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_token_file_that_can_not_be_read_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "auth_token").mkdir()
    with pytest.raises(ConfigError, match="cannot use the token file"):
        load_or_make_token(tmp_path)


def test_a_missing_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot use the token file"):
        load_or_make_token(tmp_path / "missing")


CONTENT = {"instance_id": "me", "port": 8787, "auth_token": "t" * 64}


@pytest.mark.usefixtures("umask")
def test_server_json_has_mode_0600_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_server_file(tmp_path, CONTENT)
    assert json.loads((tmp_path / "server.json").read_text()) == CONTENT
    assert mode_of(tmp_path / "server.json") == 0o600
    assert os.listdir(tmp_path) == ["server.json"]


def test_server_json_is_replaced_with_mode_0600_also_over_an_open_one(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{}")
    (tmp_path / "server.json").chmod(0o644)
    write_server_file(tmp_path, CONTENT)
    assert mode_of(tmp_path / "server.json") == 0o600


def test_a_reader_never_sees_half_a_server_json(tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    write_server_file(tmp_path, CONTENT)

    def write_or_read(number: int) -> int:
        for turn in range(100):
            if number < 2:
                write_server_file(tmp_path, CONTENT | {"filler": "x" * (turn * 100)})
            else:
                assert json.loads(file.read_text())["instance_id"] == "me"
        return number

    assert in_threads(4, write_or_read) == [0, 1, 2, 3]
    assert os.listdir(tmp_path) == ["server.json"]


def test_a_hub_removes_its_own_server_json(tmp_path: Path) -> None:
    write_server_file(tmp_path, CONTENT)
    remove_server_file(tmp_path, "me")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", [json.dumps({"instance_id": "another"}), "{}", "[]", "null", "half {", "", "\udcff"])
def test_a_server_json_that_is_not_its_own_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_bytes(text.encode(errors="surrogateescape"))
    remove_server_file(tmp_path, "me")
    assert os.listdir(tmp_path) == ["server.json"]


def test_a_missing_server_json_is_fine(tmp_path: Path) -> None:
    remove_server_file(tmp_path, "me")
    remove_server_file(tmp_path / "missing", "me")
