"""Events as people read them: when, where, and what has happened, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from ...model import Event
from . import output
from .places import Places

_Data = Mapping[str, Any]


def _attached(data: _Data, _places: Places) -> str:
    attachment = data.get("attachment") or {}
    value = attachment.get("value_json")
    shown = value.get("url") if isinstance(value, dict) and "url" in value else json.dumps(value, ensure_ascii=False)
    return f"attached {attachment.get('kind')}: {shown}"


def _moved(data: _Data, places: Places) -> str:
    channel = data.get("channel_id")
    old, new = (places.name(channel, data.get(name)) for name in ("old_topic_id", "new_topic_id"))
    return f"moved from {old} to {new}"


def _created(data: _Data, _places: Places) -> str:
    message = data.get("message") or {}
    return f"{message.get('sender')}: {message.get('content_raw')}"


def _new_channel(data: _Data, _places: Places) -> str:
    description = (data.get("channel") or {}).get("description")
    return f"new channel: {description}" if description else "new channel"


def _kind_and_name(data: _Data) -> str:
    agent = data.get("agent") or {}
    return f"{agent.get('kind')} {agent.get('name')}" + (", disabled" if agent.get("disabled_at") else "")


_TOLD: dict[str, Callable[[_Data, Places], str]] = {
    "channel.created": _new_channel,
    "topic.created": lambda _data, _places: "new topic",
    "topic.renamed": lambda data, _: f"topic renamed from {data.get('old_title')} to {data.get('new_title')}",
    "topic.attachment_added": _attached,
    "message.created": _created,
    "message.edited": lambda data, _: f"edited, now version {data.get('version')}: {data.get('new_content')}",
    "message.deleted": lambda data, _: f"deleted by {data.get('deleted_by')}",
    "message.moved_topic": _moved,
    "message.enriched": lambda data, _: f"enriched by {data.get('plugin_name')}",
    "agent.created": lambda data, _: f"new {_kind_and_name(data)}",
    "agent.updated": lambda data, _: f"changed {_kind_and_name(data)}",
}


def where(event: Event, places: Places) -> str:
    """The channel and the topic that an event is about; that of a move is the new one."""
    places.learn(event)
    return places.name(event.scope.channel_id, event.scope.topic_id2 or event.scope.topic_id)


def what(event: Event, places: Places) -> str:
    """What has happened. Hosts and other programs may append events of any name and shape."""
    data = event.data
    tell = _TOLD.get(event.name)
    if tell is not None and isinstance(data, dict):
        try:
            return tell(data, places)
        except (AttributeError, TypeError):
            pass
    return f"{event.name} {json.dumps(data, ensure_ascii=False)}"


def line(event: Event, places: Places) -> str:
    """Time, place, what has happened, and the id of what it is about; apart by tabs in a pipe."""
    fields = output.moment(event.ts), where(event, places), what(event, places), event.entity.id
    if not output.is_terminal():
        return "\t".join(output.one_line(each) for each in fields)
    time, place, told, entity = (output.several_lines(each).rstrip("\n") for each in fields)
    told = told.replace("\n", "\n    ")
    return f"{click.style(time, dim=True)}  {click.style(place, fg='cyan')}  {told}  {click.style(entity, dim=True)}"
