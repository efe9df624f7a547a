"""`agentlip doctor`: look a workspace over, and put right what is safe."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from ...store import checkup
from ...store.checkup import Finding
from ..support import workspace_checkup
from ..support.context import Context
from ..support.exits import ERROR, OK
from ..support.output import json_value

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red", "repaired": "cyan", "skipped": "magenta"}


@click.command()
@click.option("--repair", is_flag=True, help="First repair what is safe to repair; see docs/cli.md.")
@click.pass_obj
@click.pass_context
def doctor(click_context: click.Context, context: Context, repair: bool) -> None:
    """Check the workspace and its database.

    It looks at the schema, the event log, the lock, the token, permissions and free disk space.

    Nothing is changed without --repair, and a hub may be running. The exit code is 1 if there is an error.
    """
    findings = _findings(context, repair)
    if context.as_json:
        failed = any(finding.level == "error" for finding in findings)
        where = {"workspace": str(context.database.parent.parent), "database": str(context.database)}
        found = [_as_json(finding) for finding in findings]
        json_value({"findings": found}, status="error" if failed else "ok", count=len(found), **where)
    else:
        for finding in findings:
            level = click.style(finding.level, fg=_COLOURS[finding.level])
            click.echo(level + str(finding).removeprefix(finding.level))
    click_context.exit(ERROR if any(finding.level == "error" for finding in findings) else OK)


def _findings(context: Context, repair: bool) -> list[Finding]:
    path = context.database
    # On a terminal only; the lines are printed when it is gone.
    with Console(stderr=True).status("Checking the files") as status:
        repaired = list(workspace_checkup.repair(path)) if repair else []
        files = list(workspace_checkup.examine(path))
        database = checkup.examine(path, lambda name: status.update(f"Checking {name}"))
        return [*repaired, *database, *files]


def _as_json(finding: Finding) -> dict[str, Any]:
    return {"level": finding.level, "what": finding.what, "remedy": finding.remedy or None}
