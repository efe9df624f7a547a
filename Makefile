# The tasks of this repository, in .venv; docs/contributing.md says when to use which. CI runs .ci/run, which does the same.

check: lint types test

setup:
	python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]'

test:
	.venv/bin/python -m pytest

slow:
	.venv/bin/python -m pytest -m slow

ui:
	.venv/bin/python -m pytest tests/ui -n 2

coverage:
	.venv/bin/python -m pytest tests/hub tests/store --cov=agentlip.hub --cov=agentlip.store --cov-report=term:skip-covered

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/oxlint --deny-warnings

types:
	.venv/bin/mypy

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench:
	.venv/bin/python benchmarks/run.py

openapi:
	.venv/bin/python -m agentlip.server.http > docs/openapi.json

screenshots:
	.venv/bin/python -m tests.ui.screenshots

.PHONY: check setup test slow ui coverage lint types format bench openapi screenshots
