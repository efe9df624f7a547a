"""Search over a real file: by looking at every message, and by another hub's full-text index."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from agentlip.errors import InvalidInput, ServiceUnavailable, ShuttingDown
from agentlip.model import SearchPage, Topic
from agentlip.store import mutations
from agentlip.store import search as search_module
from agentlip.store.search import words_of
from agentlip.store.store import Store

# As other v1 hubs make it.
INDEX = """
CREATE VIRTUAL TABLE messages_fts USING fts5(content_raw, content='messages', content_rowid='rowid');
CREATE TRIGGER messages_fts_insert AFTER INSERT ON messages BEGIN
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
CREATE TRIGGER messages_fts_update AFTER UPDATE OF content_raw ON messages BEGIN
  INSERT INTO messages_fts(messages_fts, rowid, content_raw) VALUES ('delete', old.rowid, old.content_raw);
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
"""


def find(store: Store, text: str, limit: int = 50, **where: Any) -> SearchPage:
    return store.search(text, where.get("channel_id"), where.get("topic_id"), limit, where.get("before_id"))


def contents(page: SearchPage) -> list[str]:
    return [message.content_raw for message in page.messages]


def post(store: Store, topic: Topic, *texts: str) -> list[str]:
    return [store.write(mutations.post_message, topic.id, "s", text)[0].id for text in texts]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one", ["one"]),
        (" one  two\t", ["one", "two"]),
        ('"one two" three', ["one two", "three"]),
        ('say "hi', ["say", "hi"]),
        ('"" x "  "', ["x"]),
    ],
)
def test_a_query_is_words_and_quoted_phrases(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize("text", ["", "  ", '"', '""', '" "', " ".join("x" * 33)])
def test_a_query_without_words_or_with_too_many_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        words_of(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("apple", ["Apples and PEARS"]),
        ("pears apple", ["Apples and PEARS"]),
        ('"and pears"', ["Apples and PEARS"]),
        ('"pears and"', []),
        ("STRASSE", ["die Straße"]),
        ("ΣΊΣΥΦΟΣ", ["σίσυφος"]),
        ("100%", ["100% sure_thing"]),
        ("1_0", []),
        ("%", ["100% sure_thing"]),
        ("a\\b", ["a\\b"]),
        ("null", ["a\0null"]),
        ("apple missing", []),
    ],
)
def test_all_words_must_occur_in_any_case_and_order(store: Store, topic: Topic, text: str, found: list[str]) -> None:
    post(store, topic, "Apples and PEARS", "die Straße", "σίσυφος", "100% sure_thing", "a\\b", "a\0null")
    page = find(store, text)
    assert (contents(page), page.has_more, page.fts_used) == (found, False, False)


def test_the_newest_come_first_and_has_more_is_exact(store: Store, topic: Topic) -> None:
    post(store, topic, *(f"word {number}" for number in range(5)))
    assert contents(find(store, "word", 4)) == ["word 4", "word 3", "word 2", "word 1"]
    assert find(store, "word", 4).has_more
    assert not find(store, "word", 5).has_more


@pytest.mark.parametrize("index", ["", INDEX], ids=["scan", "index"])
def test_a_page_goes_on_before_the_last_message_of_the_one_before(
    store: Store, topic: Topic, foreign: sqlite3.Connection, index: str
) -> None:
    foreign.executescript(index)
    post(store, topic, *(f"word {number}" for number in range(5)))
    first = find(store, "word", 2)
    second = find(store, "word", 2, before_id=first.messages[-1].id)
    third = find(store, "word", 2, before_id=second.messages[-1].id)
    assert contents(first) + contents(second) + contents(third) == [f"word {number}" for number in range(4, -1, -1)]
    assert (second.has_more, third.has_more) == (True, False)


@pytest.mark.parametrize("index", ["", INDEX], ids=["scan", "index"])
def test_channel_and_topic_narrow_it_and_tombstones_are_not_found(
    store: Store, topic: Topic, other_topic: Topic, foreign: sqlite3.Connection, index: str
) -> None:
    foreign.executescript(index)
    (first,), (second,) = post(store, topic, "red one"), post(store, other_topic, "red two")
    (gone,) = post(store, topic, "red three")
    store.write(mutations.delete_message, gone, "s", None)
    assert [message.id for message in find(store, "red").messages] == [second, first]
    assert [message.id for message in find(store, "red", topic_id=topic.id).messages] == [first]
    assert len(find(store, "red", channel_id=topic.channel_id).messages) == 2
    assert find(store, "red", channel_id="ch_none").messages == []
    assert find(store, "red", channel_id="ch_none", topic_id=topic.id).messages == []
    assert find(store, "deleted").messages == []
    assert find(store, "red").fts_used is bool(index)


@pytest.mark.parametrize("text", ["AND", "red OR", "NEAR(", "re*", '"', "a:b", "-red", "(", "x'y", "^red", "{a b}:c"])
def test_the_syntax_of_the_index_means_nothing(
    store: Store, topic: Topic, foreign: sqlite3.Connection, text: str
) -> None:
    foreign.executescript(INDEX)
    post(store, topic, "red apple")
    if text == '"':
        with pytest.raises(InvalidInput):
            find(store, text)
    else:
        assert find(store, text).fts_used


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE messages_fts (something)",
        "CREATE VIRTUAL TABLE messages_fts USING fts5(x, content='nowhere', content_rowid='rowid')",
        INDEX.partition("CREATE TRIGGER")[0],
        "CREATE TABLE messages_fts (content_raw); CREATE TRIGGER t AFTER INSERT ON messages "
        "BEGIN INSERT INTO messages_fts VALUES (new.content_raw); END",
    ],
)
def test_an_index_that_can_not_be_used_is_passed_over(
    store: Store, topic: Topic, foreign: sqlite3.Connection, script: str
) -> None:
    foreign.executescript(script)
    post(store, topic, "red apple")
    page = find(store, "red")
    assert (contents(page), page.fts_used) == (["red apple"], False)


def test_a_search_that_takes_too_long_is_given_up(
    store: Store, topic: Topic, foreign: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO messages (id, topic_id, channel_id, sender, content_raw, version, created_at) "
        "SELECT 'msg_' || printf('%08d', i), ?, ?, 's', 'hay', 1, 't' FROM n",
        (topic.id, topic.channel_id),
    )
    foreign.commit()
    monkeypatch.setattr(search_module, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr(search_module, "MAX_SECONDS", 0.0)
    with pytest.raises(ServiceUnavailable) as caught:
        find(store, "needle")
    assert caught.value.details == {"reason": "search took too long"}
    monkeypatch.setattr(search_module, "MAX_SECONDS", 60.0)
    assert find(store, "needle").messages == []


def test_a_closed_store_searches_no_more(store: Store) -> None:
    store.close()
    with pytest.raises(ShuttingDown):
        find(store, "x")
