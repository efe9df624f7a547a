"""`agentlip attachment`: list, add."""

from __future__ import annotations

import json
from typing import Any

import click

from ..support import output
from ..support.command import Group, field
from ..support.context import Context
from ..support.lookup import topic_id


@click.group(cls=Group)
def attachment() -> None:
    """List and add the attachments of a topic.

    Attachments are links and other JSON objects. A TOPIC is given by its id or as channel/title.
    """


@attachment.command("list")
@field("topic", "--topic-id", "--topic")
@click.option("--kind", help="Only those of this kind.")
@click.pass_obj
def list_attachments(context: Context, topic: str, kind: str | None) -> None:
    """List the attachments of TOPIC, the newest first.

    \b
    Example: agentlip attachment list "general/First steps" --kind url
    """
    with context.reader() as reader:
        wanted = topic_id(reader, topic)
        found = reader.attachments(wanted, kind)
    if context.as_json:
        output.json_list("attachments", found, has_more=False, topic_id=wanted)
    else:
        rows = [(each.id, each.kind, each.key, json.dumps(each.value_json, ensure_ascii=False)) for each in found]
        output.table(("ID", "KIND", "KEY", "VALUE"), rows)


@attachment.command("add")
@field("topic", "--topic-id", "--topic")
@click.option("--kind", help="What it is. [default with --url: url]")
@click.option("--url", help="A link to attach. (A remote hub's --url goes before the command.)")
@click.option("--value", "--value-json", metavar="JSON", help="A JSON object to attach.")
@click.option("--key", help="Tells attachments of one kind apart.")
@click.option("--dedupe-key", help="What makes two attachments equal. [default: the value]")
@click.option("--source-message", "--source-message-id", metavar="ID", help="The message that it comes from.")
@click.pass_obj
def add_attachment(
    context: Context,
    topic: str,
    kind: str | None,
    url: str | None,
    value: str | None,
    key: str | None,
    dedupe_key: str | None,
    source_message: str | None,
) -> None:
    """Attach a link or a JSON object to TOPIC. Adding an equal one again changes nothing.

    \b
    Example: agentlip attachment add general/Links --url https://example.com/
    """
    content = _content(url, value)
    kind = kind or ("url" if url else None)
    if kind is None:
        raise click.UsageError("Say what kind it is: --kind")
    with context.client() as client:
        result = client.add_attachment(
            topic_id(client, topic), kind, content, key=key, dedupe_key=dedupe_key, source_message_id=source_message
        )
    if context.as_json:
        output.json_value(result, attachment_id=result.attachment.id, deduplicated=result.event_id is None)
    else:
        done = "Attached" if result.event_id is not None else "Already attached:"
        output.made(result.attachment.id, f"{done} {result.attachment.id}")


def _content(url: str | None, value: str | None) -> dict[str, Any]:
    if (url is None) == (value is None):
        raise click.UsageError("Give either --url or --value")
    if url is not None:
        return {"url": url}
    try:
        content = json.loads(value or "")
        json.dumps(content, allow_nan=False)  # what Python takes for JSON and is none
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise click.UsageError("--value must be a JSON object")
    return content
