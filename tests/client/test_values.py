"""The model's values out of JSON that is not quite as promised."""

from __future__ import annotations

from typing import Any

import pytest

from agentlip.client.errors import HubUnreachable, OutcomeUnknown
from agentlip.client.values import changed, event, fitted, read
from agentlip.model import ChannelPage, ChannelResult, EventRow, Scope

CHANNEL = {"id": "ch_1", "name": "general", "description": None, "created_at": "then"}
EVENT = {
    "event_id": 7, "ts": "then", "name": "own", "data_json": {"n": 1},
    "scope": {"channel_id": "ch_1", "topic_id": None, "topic_id2": None}, "entity": {"type": "x", "id": "y"},
}  # fmt: skip


@pytest.mark.parametrize("odd", [7, 1.5, None, ["a"]])
def test_a_field_of_another_type_stays_as_it_is_and_hides_nothing(odd: Any) -> None:
    page = read({"channels": [CHANNEL | {"name": odd}, CHANNEL], "has_more": False}, ChannelPage)
    assert [channel.name for channel in page.channels] == [odd, "general"]


def test_an_event_of_another_program_is_an_event() -> None:
    odd = fitted(EVENT | {"ts": 5, "scope": {"channel_id": 3}, "entity": {"type": 1, "id": None}}, EventRow)
    assert event(odd)[:5] == (7, 5, "own", Scope(3, None, None), (1, None))  # type: ignore[arg-type]


def test_new_fields_are_passed_over() -> None:
    assert event(fitted(EVENT | {"more": 1}, EventRow)).data == {"n": 1}


@pytest.mark.parametrize("gone", CHANNEL)
def test_what_lacks_a_field_is_no_answer_of_a_hub(gone: str) -> None:
    less = {name: value for name, value in CHANNEL.items() if name != gone}
    with pytest.raises(HubUnreachable):
        read({"channels": [less], "has_more": False}, ChannelPage)
    with pytest.raises(OutcomeUnknown):
        changed({"channel": less, "event_id": 1}, ChannelResult)
    with pytest.raises(OutcomeUnknown):
        changed({"channel": "words", "event_id": 1}, ChannelResult)
