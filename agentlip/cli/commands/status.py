"""`agentlip status`: what runs in a workspace, and what is in it; or what a remote hub says of itself."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from math import log2
from pathlib import Path
from typing import Any

import click

from ...client.tls import what_to_do
from ...errors import StorageError
from ...store.statistics import Statistics
from ...workspace import processes, writer_lock
from ..support import output
from ..support.context import Context
from ..support.exits import NOT_RUNNING
from ..support.running import Running


@click.command()
@click.pass_obj
def status(context: Context) -> None:
    """Show the hub and what is in its database. Exits with 3 if no hub is running."""
    if context.url is not None:
        with context.client() as client:
            facts = {"status": "running", "url": client.url} | {
                key: value for key, value in client.health().items() if key != "status"
            }
    else:
        facts = _local(context.database)
    if context.as_json:
        output.json_value(facts)
    else:
        output.record(dict(_shown(key, value) for key, value in facts.items() if value is not None))
    if facts["status"] != "running":
        raise click.exceptions.Exit(NOT_RUNNING)


def _local(database: Path) -> dict[str, Any]:
    running = Running.look(database.parent)
    facts: dict[str, Any] = {"status": _status(running), "remark": _remark(running), "url": running.url}
    facts |= _process(running)
    facts |= {"workspace": str(database.parent.parent), "database": str(database)}
    health = running.health or {}
    facts |= {"instance_id": health.get("instance_id"), "protocol_version": health.get("protocol_version")}
    try:
        facts |= asdict(Statistics.read(database))
    except StorageError as error:
        facts["remark"] = facts["remark"] or str(error)
    return facts


def _status(running: Running) -> str:
    if running.url is not None:
        return "running"
    return "stopped" if running.holder is None else "not answering"


def _remark(running: Running) -> str | None:
    """What a person should know besides."""
    if running.is_left_over and running.server is not None:
        return f"server.json is left over from process {running.server.get('pid')}, which is gone"
    https = running.https_url
    if https is not None:
        return f"the hub serves TLS: {what_to_do(https)}"
    if running.url is None and running.holder is not None:
        return "a process holds the lock; it may be starting, see hub.log"
    if running.health is not None and running.health.get("status") == "degraded":
        return f"the hub refuses calls: {running.health.get('reason')}"
    return None


def _process(running: Running) -> dict[str, Any]:
    if running.url is None or running.server is None:
        return {"pid": running.holder or None, "workers": None, "started_at": None, "uptime_seconds": None}
    pid, started_at = running.server.get("pid"), running.server.get("started_at")
    users = writer_lock.users(running.folder)
    workers = sum(processes.parent_of(user) == pid for user in users) or None
    return {"pid": pid, "workers": workers, "started_at": started_at, "uptime_seconds": _seconds_since(started_at)}


def _seconds_since(moment: Any) -> float | None:
    try:
        return max(0.0, round(time.time() - datetime.fromisoformat(moment).timestamp(), 1))
    except (TypeError, ValueError):
        return None


def _shown(key: str, value: Any) -> tuple[str, str]:
    """The name and the value as people read them."""
    if key == "uptime_seconds":
        return "uptime", _duration(float(value))
    if key.endswith("_bytes"):
        return key.replace("_bytes", "_size"), _size(int(value))
    return key, output.moment(value) if key == "started_at" else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [f"{value} {unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if value]
    return " ".join((units or [f"{rest} s"])[:2])


def _size(count: float) -> str:
    if count < 1024:
        return f"{count:.0f} bytes"
    power = min(int(log2(count) // 10), 4)
    return f"{count / 1024**power:.1f} {' KMGT'[power]}iB"
