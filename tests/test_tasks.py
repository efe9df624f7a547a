"""The task file, CI, the hooks of pre-commit and docs/contributing.md tell of the same commands."""

from __future__ import annotations

import re

from .running_hub import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TASKS = {name: lines.split("\n\t")[1:] for name, lines in re.findall(r"^(\w+):.*((?:\n\t.*)*)", MAKEFILE, re.MULTILINE)}
NOT_IN_CI = {"format", "bench", "openapi", "screenshots"}


def _of_ci() -> set[str]:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if ".venv/bin/" in line]
    return {command for line in lines for command in re.split(r" && (?=\.venv/bin/python)", line)}


def test_ci_runs_the_tasks() -> None:
    assert _of_ci() == {command for name, lines in TASKS.items() if name not in NOT_IN_CI for command in lines}


def test_every_task_is_explained_and_none_is_a_file() -> None:
    rows = re.findall(r"^\| `make (\w+)` \|", (ROOT / "docs" / "contributing.md").read_text(), re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(rows) == set(phony[1].split()) == set(TASKS)


def test_the_hooks_run_what_the_tasks_run() -> None:
    hooks = re.findall(r"entry: (\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    programs = {command.split()[0] for name in ("lint", "types") for command in TASKS[name]}
    assert set(hooks) == programs
