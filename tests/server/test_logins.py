"""Logins of browsers: what the cookie opens, and what it does not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import requests
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from agentlip.server.access import logins, signed_out
from agentlip.workspace.finding import LOGIN_CODES
from agentlip.workspace.login_codes import make_login_code

from ..running_hub import TOKEN, Hub, eventually
from .raw_http import dial, read_answer


def sign_in(hub: Hub, origin: str | None = "own", **body: Any) -> requests.Response:
    headers = {} if origin is None else {"Origin": hub.url if origin == "own" else origin}
    return requests.post(f"{hub.url}/ui/session", json=body or {"token": TOKEN}, headers=headers, timeout=20)


def cookie_of(answer: requests.Response) -> str:
    """`name=value`, as browsers send it back."""
    assert answer.status_code == 200, answer.text
    return answer.headers["Set-Cookie"].partition(";")[0]


def call(
    hub: Hub, method: str, path: str, cookie: str, body: Any = None, origin: str | None = "own"
) -> requests.Response:
    headers = {"Cookie": cookie} | ({} if origin is None else {"Origin": hub.url if origin == "own" else origin})
    return requests.request(method, hub.url + path, json=body, headers=headers, timeout=20)


def listen(hub: Hub, cookie: str, origin: str | None) -> dict[str, Any]:
    """What the hub answers to hello; raises InvalidStatus when it refuses the WebSocket."""
    url = f"ws://127.0.0.1:{hub.port}/ws"
    with connect(url, origin=origin, additional_headers={"Cookie": cookie}) as socket:  # type: ignore[arg-type]
        socket.send('{"type": "hello", "after_event_id": 0}')
        return dict(json.loads(socket.recv(timeout=10)))


def is_signed_in(hub: Hub, cookie: str) -> bool:
    return bool(call(hub, "GET", "/ui/session", cookie).json()["signed_in"])


def test_the_cookie_stands_for_the_token_on_pages_of_the_hub(hub: Hub) -> None:
    cookie = cookie_of(sign_in(hub))
    assert call(hub, "GET", "/api/v1/channels", cookie, origin=None).status_code == 200
    assert call(hub, "POST", "/api/v1/channels", cookie, {"name": "with a cookie"}).status_code == 201
    assert listen(hub, cookie, hub.url)["type"] == "hello_ok"
    assert is_signed_in(hub, cookie)


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "http://localhost"])
def test_pages_of_others_can_not_use_it(hub: Hub, origin: str | None) -> None:
    cookie = cookie_of(sign_in(hub))
    answer = call(hub, "POST", "/api/v1/channels", cookie, {"name": "forged"}, origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "ORIGIN_NOT_ALLOWED")
    with pytest.raises(InvalidStatus) as refused:
        listen(hub, cookie, origin)
    assert refused.value.response.status_code == 403
    if origin is not None:
        assert sign_in(hub, origin).status_code == 403


def test_the_cookie_is_kept_from_scripts_and_other_sites(hub: Hub) -> None:
    (plain,) = SimpleCookie(sign_in(hub, token=TOKEN, base="/hub/").headers["Set-Cookie"]).values()
    assert (plain["httponly"], plain["samesite"], plain["path"], plain["secure"]) == (True, "Strict", "/hub/", "")
    assert TOKEN not in plain.value
    secure = sign_in(hub, f"https://127.0.0.1:{hub.port}").headers["Set-Cookie"]
    assert "; Secure" in secure
    for odd in ("hub", "//evil", "/a;b", "/a\r\nSet-Cookie: x=y", "/../"):
        answer = sign_in(hub, token=TOKEN, base=odd)
        assert answer.status_code == 200
        assert "; Path=/;" in answer.headers["Set-Cookie"]
        assert "x=y" not in answer.headers["Set-Cookie"].split("; ")
    assert sign_in(hub, token=TOKEN, base=7).status_code == 400


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"token": "wrong"}, (401, "INVALID_AUTH")),
        ({"token": ""}, (401, "MISSING_AUTH")),
        ({"token": 7}, (400, "INVALID_INPUT")),
        ({"code": "wrong"}, (401, "INVALID_AUTH")),
        ({"x": 1}, (401, "MISSING_AUTH")),
    ],
    ids=str,
)
def test_whoever_shows_nothing_gets_none(hub: Hub, body: dict[str, Any], refusal: tuple[int, str]) -> None:
    answer = sign_in(hub, **body)
    assert (answer.status_code, answer.json()["code"]) == refusal
    assert "Set-Cookie" not in answer.headers


def forged(token: str, age: float = 0, content: object = "person") -> str:
    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(super().get_timestamp() - age)

    digest = {"digest_method": hashlib.sha256}
    serializer = URLSafeTimedSerializer(logins._key(token), "agentlip.session", signer=Earlier, signer_kwargs=digest)
    return f"{logins.cookie_name(token)}={serializer.dumps(content)}"


def test_a_session_ends_after_a_week(hub: Hub) -> None:
    assert is_signed_in(hub, forged(TOKEN, logins.LOGIN_SECONDS - 60))
    assert not is_signed_in(hub, forged(TOKEN, logins.LOGIN_SECONDS + 60))


def test_a_cookie_of_another_hub_or_a_changed_one_opens_nothing(hub: Hub) -> None:
    cookie = cookie_of(sign_in(hub))
    name, _, value = cookie.partition("=")
    for bad in (
        f"{name}={value[:-9]}{'A' if value[-9] != 'A' else 'B'}{value[-8:]}",
        f"{name}=", f"{name}=person", f"{name}={TOKEN}",
        forged("another-token-0123456789abcdef0123456789"), forged(TOKEN, content="admin"),
        f"{name}={forged('another-token').partition('=')[2]}",
    ):  # fmt: skip
        assert not is_signed_in(hub, bad)
        assert call(hub, "GET", "/api/v1/channels", bad).status_code == 401
        with pytest.raises(InvalidStatus):
            listen(hub, bad, hub.url)


def test_cookies_of_other_programs_may_hold_anything(hub: Hub) -> None:
    cookie = cookie_of(sign_in(hub))
    name = cookie.partition("=")[0]
    for ours, status in ((cookie, 200), (f"{name}=\xff", 401), (f'{name}="\\377"', 401), ("", 401)):
        for others in ("a=\xff", "\xff\xfe=;;=", 'b="\\', "agentlip_x=\xff"):
            lines = [f"Cookie: {others}; {ours}".encode("latin-1"), b"Host: 127.0.0.1", b"Connection: close"]
            with dial(hub.port) as sock:
                sock.sendall(b"\r\n".join([b"GET /api/v1/channels HTTP/1.1", *lines, b"", b""]))
                assert read_answer(sock).status == status


def test_a_wrong_token_is_not_mended_by_a_cookie(hub: Hub) -> None:
    cookie = cookie_of(sign_in(hub))
    headers = {"Cookie": cookie, "Authorization": "Bearer wrong", "Origin": hub.url}
    answer = requests.get(f"{hub.url}/api/v1/channels", headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_AUTH")


def test_a_new_token_ends_all_sessions(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    cookie = cookie_of(sign_in(hub))
    hub.stop()
    hub.settings["AUTH_TOKEN"] = "another-token-0123456789abcdef0123456789"
    hub.start()
    assert not is_signed_in(hub, cookie)


def test_signing_out_clears_the_cookie(hub: Hub) -> None:
    cookie = cookie_of(sign_in(hub))
    answer = call(hub, "DELETE", "/ui/session", cookie, {"base": "/"})
    assert answer.json() == {"signed_in": False}
    assert answer.headers["Set-Cookie"].startswith(f"{cookie.partition('=')[0]}=; ")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert call(hub, "DELETE", "/ui/session", cookie, {}, "https://evil.example").status_code == 403


def test_signing_out_ends_the_session_for_whoever_has_the_cookie(hub: Hub) -> None:
    cookie, other = cookie_of(sign_in(hub)), cookie_of(sign_in(hub))
    assert cookie != other
    assert call(hub, "DELETE", "/ui/session", cookie, {"base": "/"}).status_code == 200
    assert not is_signed_in(hub, cookie)
    assert call(hub, "GET", "/api/v1/channels", cookie).status_code == 401
    assert call(hub, "POST", "/api/v1/channels", cookie, {"name": "after"}).status_code == 401
    with pytest.raises(InvalidStatus):
        listen(hub, cookie, hub.url)
    assert call(hub, "DELETE", "/ui/session", cookie, {"base": "/"}).status_code == 200, "and once more"
    assert is_signed_in(hub, other)


@pytest.mark.slow
def test_a_session_that_was_ended_stays_so_in_every_worker_and_after_a_restart(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=3)
    cookie, other = cookie_of(sign_in(hub)), cookie_of(sign_in(hub))
    call(hub, "DELETE", "/ui/session", cookie, {"base": "/"})
    for _ in range(2):
        pids: set[int] = set()

        def ask(pids: set[int] = pids) -> bool:
            pids.add(requests.get(f"{hub.url}/health", timeout=20).json()["pid"])
            assert not is_signed_in(hub, cookie)
            assert is_signed_in(hub, other)
            return len(pids) == 3

        eventually(ask, 30, "an answer of each worker")
        hub.stop()
        hub.start()


def test_open_websockets_of_an_ended_session_end(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=2, PING_INTERVAL=1)
    cookie, other = cookie_of(sign_in(hub)), cookie_of(sign_in(hub))
    with contextlib.ExitStack() as stack:

        def opened(**how: Any) -> ClientConnection:
            socket = stack.enter_context(connect(f"ws://127.0.0.1:{hub.port}/ws", **how))
            socket.send('{"type": "hello", "after_event_id": 0}')
            assert json.loads(socket.recv(timeout=10))["type"] == "hello_ok"
            return socket

        by_cookie = {"origin": hub.url, "additional_headers": {"Cookie": cookie}}
        ended = [opened(**by_cookie) for _ in range(4)]
        stay = [
            opened(**by_cookie | {"additional_headers": {"Cookie": other}}),
            opened(additional_headers={"Authorization": f"Bearer {TOKEN}"}),
        ]
        assert call(hub, "DELETE", "/ui/session", cookie, {"base": "/"}).status_code == 200
        for each in ended:
            with pytest.raises(ConnectionClosed) as closed:
                each.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Signed out")
        event = hub.call("POST", "/api/v1/channels", {"name": "later"}).json()["event_id"]
        assert [json.loads(each.recv(timeout=10))["event_id"] for each in stay] == [event, event]


def test_what_is_kept_of_ended_sessions_is_bounded(hub: Hub) -> None:
    place = hub.folder / "signed_out"
    call(hub, "DELETE", "/ui/session", cookie_of(sign_in(hub)), {"base": "/"})
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    kept = {path.name for path in place.iterdir()}
    for bad in (forged("another-token-0123456789abcdef0123456789"), "agentlip_x=y", forged(TOKEN, content="admin")):
        call(hub, "DELETE", "/ui/session", bad, {"base": "/"})
    assert {path.name for path in place.iterdir()} == kept, "only for what was a session"
    for path in place.iterdir():
        path.unlink()
    for number in range(signed_out.MOST):
        (place / f"old{number}").touch()
    old = place / "old0"
    past = old.stat().st_mtime - logins.LOGIN_SECONDS - 1
    os.utime(old, (past, past))
    first = cookie_of(sign_in(hub))
    call(hub, "DELETE", "/ui/session", first, {"base": "/"})
    assert not old.exists()
    assert len(list(place.iterdir())) == signed_out.MOST
    before = cookie_of(sign_in(hub))
    call(hub, "DELETE", "/ui/session", cookie_of(sign_in(hub)), {"base": "/"})
    assert len(list(place.iterdir())) == 2
    assert not is_signed_in(hub, first)
    assert not is_signed_in(hub, before), "too many to know them one by one: all have to sign in again"
    eventually(lambda: is_signed_in(hub, cookie_of(sign_in(hub))), 5, "a new session")


def test_a_session_that_can_not_be_ended_is_not_said_to_be(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    cookie = cookie_of(sign_in(hub))
    (hub.folder / "signed_out").write_text("in the way")
    answer = call(hub, "DELETE", "/ui/session", cookie, {"base": "/"})
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "Max-Age=0" in answer.headers["Set-Cookie"], "this browser forgets it all the same"


def test_a_login_code_works_once(hub: Hub) -> None:
    code = make_login_code(hub.folder)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sign_in(hub, code=code), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    (good,) = (answer for answer in answers if answer.ok)
    assert is_signed_in(hub, cookie_of(good))
    assert "agentlip ui" in next(answer for answer in answers if not answer.ok).json()["error"]


def test_an_old_login_code_is_refused_and_removed(hub: Hub) -> None:
    code = make_login_code(hub.folder)
    (file,) = (hub.folder / LOGIN_CODES).iterdir()
    assert code not in file.name
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    past = file.stat().st_mtime - 601
    os.utime(file, (past, past))
    assert sign_in(hub, code=code).status_code == 401
    assert list((hub.folder / LOGIN_CODES).iterdir()) == []


def test_all_workers_know_all_sessions(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=3)
    cookie = cookie_of(sign_in(hub, code=make_login_code(hub.folder)))
    pids: set[int] = set()

    def ask() -> bool:
        pids.add(requests.get(f"{hub.url}/health", timeout=20).json()["pid"])
        assert is_signed_in(hub, cookie)
        return len(pids) == 3

    eventually(ask, 30, "an answer of each worker")


def test_a_hub_without_a_token_signs_nobody_in(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(AUTH_TOKEN="")
    assert sign_in(hub, token="x").json()["code"] == "NO_AUTH_CONFIGURED"
    assert sign_in(hub, code=make_login_code(hub.folder)).json()["code"] == "NO_AUTH_CONFIGURED"
    assert requests.get(f"{hub.url}/ui/session", timeout=20).json()["code"] == "NO_AUTH_CONFIGURED"
    assert not is_signed_in(hub, forged(""))


def test_the_page_can_be_switched_off(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(UI="off")
    for path in ("/ui", "/ui/", "/ui/login", "/ui/session", "/ui/static/app.js", "/ui/data/status"):
        assert hub.call("GET", path).status_code == 404


def test_documents_and_files_hold_no_secret_and_a_strict_policy(hub: Hub) -> None:
    static = Path(logins.__file__).parents[1] / "ui" / "static"
    files = [f"static/{path.relative_to(static)}" for path in static.rglob("*") if path.is_file()]
    for path in ("", "login", *files):
        answer = requests.get(f"{hub.url}/ui/{path}", timeout=20)
        assert answer.status_code == 200, path
        assert TOKEN not in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Set-Cookie" not in answer.headers
    kept = requests.get(f"{hub.url}/ui/static/app.js", timeout=20).headers["ETag"]
    again = requests.get(f"{hub.url}/ui/static/app.js", headers={"If-None-Match": kept}, timeout=20)
    assert (again.status_code, again.text) == (304, "")


@pytest.mark.parametrize(
    "path", ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "nothing.js", "vendor", "../../../"]
)
def test_no_other_file_is_served(hub: Hub, path: str) -> None:
    with contextlib.closing(requests.Session()) as session:
        request = requests.Request("GET", f"{hub.url}/ui/static/").prepare()
        request.url = f"{hub.url}/ui/static/{path}"
        answer = session.send(request, timeout=20)
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"
