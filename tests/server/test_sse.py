"""Server-sent events: the promises of the WebSocket over plain HTTP."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from agentlip import wire
from agentlip.model import Scope

from ..running_hub import Hub, eventually
from .calls import API, check_error, head, new_channel, new_topic
from .event_stream import EventReader
from .raw_http import dial, read_answer
from .raw_http import head as request_head
from .raw_socket import append_events

STREAM = f"{API}/events/stream"


def test_the_head_says_what_it_is_and_that_nobody_may_keep_it(hub: Hub) -> None:
    new_topic(hub)
    with EventReader(hub.port) as stream:
        assert stream.status == "HTTP/1.1 200 OK"
        headers = dict(line.split(": ", 1) for line in stream.lines)
        assert headers["Content-Type"].split(";")[0] == "text/event-stream"
        assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
        assert (headers["Connection"], headers["X-Protocol-Version"]) == ("close", "v1")
        assert "Content-Length" not in headers
        assert stream.block() == "retry: 2000"


def test_an_event_has_its_id_its_name_and_the_envelope_of_the_websocket(hub: Hub) -> None:
    topic_id = new_topic(hub)
    start = head(hub)
    posted = hub.post(topic_id, "two\nlines\r and 'quotes\"")["event_id"]
    with EventReader(hub.port, f"after={start}") as stream, hub.listen(start) as (socket, _answer):
        raw = str(socket.recv(timeout=10))
        assert stream.block() == "retry: 2000"
        assert stream.block() == f"id: {posted}\nevent: message.created\ndata: {raw}"


def test_replay_and_live_have_no_seam_under_concurrent_writers(hub: Hub) -> None:
    topic_id = new_topic(hub)
    hub.fill(topic_id, 600)
    start, port = head(hub) - 600, hub.port
    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(append_events, hub.db, 100) for _ in range(3)]
        streams = [EventReader(port, f"after={start}") for _ in range(3)]
        last = max(each.result() for each in writing)
        for stream in streams:
            with stream:
                assert stream.ids(last) == list(range(start + 1, last + 1))


def test_a_reader_that_comes_again_goes_on_where_it_was(hub: Hub) -> None:
    topic_id = new_topic(hub)
    first = hub.post(topic_id)["event_id"]
    last = hub.post(topic_id)["event_id"]
    with EventReader(hub.port, "after=0", f"Last-Event-ID: {first}") as stream:
        assert stream.ids(last) == [last]
        posted = hub.post(topic_id)["event_id"]
        assert stream.ids(posted) == [posted]


def test_without_a_cursor_it_is_the_whole_log(hub: Hub) -> None:
    new_topic(hub)
    with EventReader(hub.port) as stream:
        assert stream.ids(head(hub))[0] == 1


def test_only_what_touches_its_channels_and_topics_comes(hub: Hub) -> None:
    channel_id, topic_id, other = new_channel(hub), new_topic(hub), new_topic(hub)
    start = head(hub)
    with EventReader(hub.port, f"after={start}&channel_id={channel_id}&topic_id={topic_id}") as stream:
        hub.post(other)
        wanted = [new_topic_event(hub, channel_id), hub.post(topic_id)["event_id"]]
        hub.post(other)
        wanted.append(hub.post(topic_id)["event_id"])
        assert stream.ids(wanted[-1]) == wanted


def new_topic_event(hub: Hub, channel_id: str) -> int:
    new_topic(hub, channel_id)
    return head(hub)


def test_heartbeats_tell_the_head_and_a_reader_that_is_silent_stays(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(PING_INTERVAL=0.2)
    topic_id = new_topic(hub)
    with EventReader(hub.port, f"after={head(hub)}") as stream:
        for _ in range(5):  # longer than a WebSocket may be silent
            assert stream.read() == ("", "heartbeat", {"head": head(hub)})
        posted = hub.post(topic_id)["event_id"]
        assert stream.read("heartbeat").data["event_id"] == posted


def test_a_hub_that_stops_says_so_last(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    with EventReader(hub.port) as stream:
        assert hub.process is not None
        eventually(lambda: hub.log().count('"connect"') == 1, what="the stream")
        hub.process.send_signal(signal.SIGTERM)
        assert stream.read() == ("", "shutdown", {})
        with pytest.raises(EOFError):
            stream.read()


def test_a_reader_that_is_too_slow_is_ended_and_others_miss_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(QUEUE_EVENTS=10)
    topic_id = new_topic(hub)
    start = head(hub)
    with EventReader(hub.port, f"after={start}", receive_buffer=4096) as slow, EventReader(hub.port) as brisk:
        brisk.ids(start)
        for _ in range(60):
            posted = hub.post(topic_id, "x" * 60_000)["event_id"]
            assert brisk.ids(posted) == [posted]
        seen: list[int] = []
        with contextlib.suppress(EOFError, ConnectionError):
            while len(seen) < 60:
                seen.append(int(slow.read().id))
        assert seen == list(range(start + 1, start + 1 + len(seen)))
        assert len(seen) < 60
        with EventReader(hub.port, "", f"Last-Event-ID: {seen[-1] if seen else start}") as again:
            assert again.ids(posted)[-1] == posted


def test_streams_and_websockets_share_the_slots_and_a_reader_that_leaves_gives_his_back(
    start_hub: Callable[..., Hub],
) -> None:
    hub = start_hub(MAX_CONNECTIONS=2)
    with hub.listen():
        stream = EventReader(hub.port)
        refused = check_error(hub.call("GET", STREAM), 503, "SERVICE_UNAVAILABLE")
        assert refused["details"] == {"reason": "connection limit"}
        stream.sock.close()
        eventually(lambda: hub.log().count('"disconnect"') == 1, what="the end of the stream")
        with EventReader(hub.port) as again:
            assert again.block() == "retry: 2000"


def test_what_a_reader_sends_is_ignored_up_to_a_limit(hub: Hub) -> None:
    topic_id = new_topic(hub)
    with EventReader(hub.port, f"after={head(hub)}") as stream:
        stream.sock.sendall(request_head("GET", STREAM))
        posted = hub.post(topic_id)["event_id"]
        assert stream.ids(posted) == [posted]
        with contextlib.suppress(ConnectionError):
            stream.sock.sendall(b"x" * 100_000)
        with pytest.raises((EOFError, ConnectionError)):
            stream.read("heartbeat")


def test_head_answers_the_headers_alone(hub: Hub) -> None:
    with dial(hub.port) as sock:
        sock.sendall(request_head("HEAD", STREAM))
        answer = read_answer(sock)
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "text/event-stream")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "channel_id=%20", "topic_id=a.b", "inbox=1", "after=1e9"])
def test_what_is_wrong_is_told_before_the_stream_begins(hub: Hub, query: str) -> None:
    check_error(hub.call("GET", f"{STREAM}?{query}"), 400, "INVALID_INPUT")


def test_a_last_event_id_that_is_none_is_refused(hub: Hub) -> None:
    check_error(hub.call("GET", STREAM, headers={"Last-Event-ID": "x"}), 400, "INVALID_INPUT")


def test_it_needs_the_token_and_takes_none_from_the_url(hub: Hub) -> None:
    check_error(hub.call("GET", f"{STREAM}?token={hub.settings['AUTH_TOKEN']}", token=None), 401, "MISSING_AUTH")


def test_http_1_0_is_refused(hub: Hub) -> None:
    with dial(hub.port) as sock:
        sock.sendall(request_head("GET", STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert read_answer(sock).status == 400


def test_nothing_of_another_program_forges_a_line(hub: Hub) -> None:
    channel_id, start = new_channel(hub), 0
    start = head(hub)
    name, data = "x\r\nid: 9\n\ndata: forged", '{"a":\r\n\r1,\n\n"b":2}'
    with EventReader(hub.port, f"after={start}") as stream:
        with closing(sqlite3.connect(hub.db, timeout=10)) as connection, connection:
            connection.execute(
                "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
                "VALUES ('t', ?, ?, 'e', 'e_1', ?)",
                (name, channel_id, data),
            )
        told = stream.read()
    assert told.id == str(start + 1)
    assert told.name == name.replace("\r", " ").replace("\n", " ")
    assert (told.data["name"], told.data["data"]) == (name, {"a": 1, "b": 2})


def test_encoded_events_end_where_they_are_said_to() -> None:
    made = [wire.envelope(n, "t\\", f'na"me\n{n}', Scope("c"), "e", "i", '{"x":\n1}') for n in (1, 22)]
    blob = wire.sse_events(made)
    ends = list(wire.sse_ends(blob))
    assert [blob[: ends[0]], blob[ends[0] :]] == [wire.sse_events([each]) for each in made]
    assert ends[-1] == len(blob)
    assert json.loads(made[0])["name"] == 'na"me\n1'
