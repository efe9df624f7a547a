"""Who may call what: the token, no token configured, public reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..running_hub import TOKEN, Hub
from .calls import API, READS, WRITES, Call, Place, check_error, events_of, filled, head, new_place, send

HEALTH = Call("GET", "/health")


@pytest.fixture(scope="module")
def place(hub: Hub) -> Place:
    return new_place(hub)


def running(folder: Path, **settings: Any) -> Iterator[Hub]:
    hub = Hub(folder, **settings).start()
    yield hub
    hub.session.close()
    hub.stop()


@pytest.fixture(scope="module")
def tokenless_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub on which no token is configured."""
    yield from running(tmp_path_factory.mktemp("tokenless"), AUTH_TOKEN="")


@pytest.fixture(scope="module")
def public_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose reads need no token."""
    yield from running(tmp_path_factory.mktemp("public"), PUBLIC_READS="on")


@pytest.fixture(scope="module")
def public_place(public_hub: Hub) -> Place:
    return new_place(public_hub)


NOBODY = Place("ch_1", "topic_1", "msg_1")


@pytest.mark.parametrize("call", [*READS, *WRITES], ids=str)
def test_every_call_works_with_the_token(hub: Hub, call: Call) -> None:
    answer = send(hub, call, new_place(hub))
    assert answer.status_code == call.status, answer.text


@pytest.mark.parametrize("call", [*READS, *WRITES], ids=str)
def test_a_call_without_a_token_is_refused_and_changes_nothing(hub: Hub, place: Place, call: Call) -> None:
    before = head(hub)
    answer = send(hub, call, place, token=None)
    check_error(answer, 401, "MISSING_AUTH")
    assert head(hub) == before


@pytest.mark.parametrize("call", [*READS, *WRITES], ids=str)
def test_a_call_with_a_wrong_token_is_refused_and_changes_nothing(hub: Hub, place: Place, call: Call) -> None:
    before = head(hub)
    answer = send(hub, call, place, token="wrong-token-5678")
    check_error(answer, 401, "INVALID_AUTH")
    assert "wrong-token-5678" not in answer.text
    assert head(hub) == before


@pytest.mark.parametrize(
    "header",
    [
        "Bearer " + TOKEN[:-1],
        "Bearer " + TOKEN + "0",
        "Bearer " + TOKEN.upper(),
        "Bearer t\xf6ken",
        "Bearer " + "x" * 4000,
        "Bearer " + TOKEN + " " + TOKEN,
    ],
    ids=["shorter", "longer", "upper case", "latin 1", "very long", "twice"],
)
def test_a_token_that_is_nearly_right_is_wrong(hub: Hub, header: str) -> None:
    headers = {"Authorization": header.encode("latin-1")}
    check_error(hub.call("GET", f"{API}/channels", token=None, headers=headers), 401, "INVALID_AUTH")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}"], ids=repr)
def test_a_header_that_is_no_bearer_token_lets_nobody_in(hub: Hub, header: str) -> None:
    answer = hub.call("GET", f"{API}/channels", token=None, headers={"Authorization": header})
    check_error(answer, 401, "MISSING_AUTH")
    assert TOKEN not in answer.text


@pytest.mark.parametrize("data", [b"{", b"[]", b"", b"\xff", b'{"name":"' + b"x" * 100_000 + b'"}'], ids=len)
def test_who_you_are_is_asked_before_what_you_say(hub: Hub, data: bytes) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = hub.call("POST", f"{API}/channels", data=data, headers=headers, token=None)
    check_error(answer, 401, "MISSING_AUTH")


@pytest.mark.parametrize("token", [TOKEN, "wrong", None], ids=["right", "wrong", "none"])
def test_health_is_always_open(hub: Hub, tokenless_hub: Hub, token: str | None) -> None:
    assert send(hub, HEALTH, NOBODY, token=token).status_code == 200
    assert send(tokenless_hub, HEALTH, NOBODY, token=token).status_code == 200


def test_no_answer_holds_the_token(hub: Hub, place: Place) -> None:
    for call in (*READS, *WRITES, HEALTH, Call("GET", "/nowhere")):
        answer = send(hub, call, place)
        assert TOKEN not in answer.text + str(answer.headers), call


@pytest.mark.parametrize("token", ["any", None], ids=["some token", "no token"])
@pytest.mark.parametrize("call", [*READS, *WRITES], ids=str)
def test_a_hub_without_a_token_says_so(tokenless_hub: Hub, call: Call, token: str | None) -> None:
    check_error(send(tokenless_hub, call, NOBODY, token=token), 503, "NO_AUTH_CONFIGURED")


def test_an_empty_bearer_does_not_match_an_empty_token(tokenless_hub: Hub) -> None:
    answer = tokenless_hub.call("GET", f"{API}/channels", token=None, headers={"Authorization": "Bearer "})
    check_error(answer, 503, "NO_AUTH_CONFIGURED")


@pytest.mark.parametrize("token", [TOKEN, None], ids=["token", "no token"])
@pytest.mark.parametrize("call", READS, ids=str)
def test_public_reads_need_no_token(public_hub: Hub, public_place: Place, call: Call, token: str | None) -> None:
    assert send(public_hub, call, public_place, token=token).status_code == 200


@pytest.mark.parametrize("call", WRITES, ids=str)
def test_public_reads_leave_writes_closed(public_hub: Hub, public_place: Place, call: Call) -> None:
    check_error(send(public_hub, call, public_place, token=None), 401, "MISSING_AUTH")
    check_error(send(public_hub, call, public_place, token="wrong"), 401, "INVALID_AUTH")


@pytest.mark.slow
def test_a_token_made_by_the_hub_survives_a_restart(tmp_path: Path) -> None:
    folder, tokens = tmp_path / "made", []
    folder.mkdir()
    for _ in range(2):
        for hub in running(folder, AUTH_TOKEN=None):
            tokens.append((folder / "auth_token").read_text().strip())
            assert hub.call("GET", f"{API}/channels", token=tokens[-1]).status_code == 200
            assert hub.call("GET", f"{API}/channels", token=TOKEN).status_code == 401
            assert tokens[-1] not in hub.log()
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64


def test_a_refused_call_leaves_no_event(hub: Hub, place: Place) -> None:
    before = head(hub)
    for call in WRITES:
        hub.call(call.method, filled(call.path, place), filled(call.body, place), token="wrong")
    assert events_of(hub, after=before) == []
