"""What is visible, and which names look the same; twins among the rows of a real file."""

from __future__ import annotations

# ruff: noqa: RUF001
import sqlite3
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlip.errors import AlreadyExists, InvalidInput
from agentlip.looks import has_control, is_visible, look_of
from agentlip.model import Channel, Topic
from agentlip.store import mutations
from agentlip.store.store import Store

INVISIBLE = [
    "", " ", "\t\n\r", "\x85", "\u00a0", "\u00ad", "\u034f", "\u061c", "\u115f\u1160", "\u180e", "\u200b",
    "\u200c\u200d", "\u200e\u200f", "\u2028\u2029", "\u202e", "\u2060\u2064", "\u2066\u2069", "\u2800", "\u3000",
    "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ufff9", "\U000e0020\U000e0061", "\U000e0100", "\u0301",
    " \u200b\n\ufeff ",
]  # fmt: skip
TWINS = [
    ("lobby", "lobby "), ("lobby", "\u200blobby"), ("lobby", "lob\u00adby"), ("lobby", "lobby\ufe0f"),
    ("caf\u00e9", "cafe\u0301"), ("\uac00", "\u1100\u1161"), ("a b", "a\u00a0b"), ("\u2764", "\u2764\ufe0f"),
    ("x", "\u3000x"), ("x", "x\U000e0061"),
]  # fmt: skip
DIFFERENT = [("general", "General"), ("a", "а"), ("a b", "a  b"), ("fi", "ﬁ"), ("1", "１"), ("cafe", "café")]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_invisible(text: str) -> None:
    assert not is_visible(text)
    assert is_visible(text + "x")


@pytest.mark.parametrize(
    "text", [".", "é", "山", "🙂", "\u0378", "\ue000", "\ufffd", "ก็", "👩\u200d💻", "‎א"], ids=ascii
)
def test_visible(text: str) -> None:
    assert is_visible(text)
    assert has_control(text) is (text == "\0")


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "\x1b[31m", "a\u2028b", "a\u202eb", "a\u2067b", "a\x85"], ids=ascii)
def test_control(text: str) -> None:
    assert has_control(text)


@given(st.text())
def test_a_look_is_stable_and_of_one_form(text: str) -> None:
    look = look_of(text)
    assert look_of(look) == look == unicodedata.normalize("NFC", look)
    assert look_of(unicodedata.normalize("NFD", text)) == look_of(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("names", [*TWINS, *(pair[::-1] for pair in TWINS)], ids=ascii)
def test_a_twin_of_a_channel_or_title_is_refused(store: Store, channel: Channel, names: tuple[str, str]) -> None:
    first, second = names
    made, _ = store.write(mutations.create_channel, first, None)
    with pytest.raises(AlreadyExists) as caught:
        store.write(mutations.create_channel, second, None)
    assert caught.value.details["id"] == made.id
    topic, _ = store.write(mutations.create_topic, channel.id, first)
    other, _ = store.write(mutations.create_topic, channel.id, "quite another")
    with pytest.raises(AlreadyExists) as caught:
        store.write(mutations.create_topic, channel.id, second)
    assert caught.value.details["id"] == topic.id
    with pytest.raises(AlreadyExists):
        store.write(mutations.rename_topic, other.id, second)
    assert store.write(mutations.rename_topic, topic.id, second)[0].title == second
    assert store.write(mutations.create_topic, made.id, second)[0].title == second


@pytest.mark.parametrize("names", DIFFERENT, ids=ascii)
def test_names_that_look_different_may_both_be(store: Store, channel: Channel, names: tuple[str, str]) -> None:
    for name in names:
        if name != "general":
            store.write(mutations.create_channel, name, None)
        store.write(mutations.create_topic, channel.id, name)


def test_rows_of_other_programs_are_compared_as_well(store: Store, foreign: sqlite3.Connection) -> None:
    foreign.execute("INSERT INTO channels VALUES ('ch_x', 'cafe\u0301 \u200b', NULL, 't')")
    foreign.execute("INSERT INTO channels VALUES ('ch_y', CAST(x'ff6f6464' AS TEXT), NULL, 't')")
    with pytest.raises(AlreadyExists) as caught:
        store.write(mutations.create_channel, "café", None)
    assert caught.value.details["id"] == "ch_x"
    store.write(mutations.create_channel, "odd", None)


@pytest.mark.parametrize("content", ["", " \n", "\u200b"], ids=ascii)
def test_an_edit_leaves_something_visible(store: Store, topic: Topic, content: str) -> None:
    message, _ = store.write(mutations.post_message, topic.id, "s", "text")
    with pytest.raises(InvalidInput):
        store.write(mutations.edit_message, message.id, content, None)
