"""Calls that a program makes up from the description: none is a failure, and every answer is as described."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as described

from agentlip.server.http.table import ENDPOINTS

from ..running_hub import TOKEN, Hub

pytestmark = pytest.mark.slow
# Left out: that what fits the description is taken, and all else refused. It has no words for a text of which something
# is visible, for NUL, for names that are taken, for one of two parameters that must be there; and the hub takes unknown
# fields and empty parameters.
CHECKS = [
    checks.not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
    described.ignored_auth,
    described.unsupported_method,
]


DETERMINISTIC = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations(hub: Hub) -> dict[str, Any]:
    schema = schemathesis.openapi.from_url(f"{hub.url}/api/v1/openapi.json")
    return {each.ok().definition.raw["operationId"]: each.ok() for each in schema.get_all_operations()}


@pytest.mark.parametrize("name", [endpoint.handler.__name__ for endpoint in ENDPOINTS if not endpoint.streams])
def test_every_answer_is_as_described(operations: dict[str, Any], name: str) -> None:
    operation = operations[name]
    takes_something = bool(list(operation.iter_parameters()) or operation.body)
    for mode in GenerationMode if takes_something else [GenerationMode.POSITIVE]:

        @DETERMINISTIC
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            (case.query or {}).pop("wait", None)  # nobody has that much time
            case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, checks=CHECKS, timeout=20)

        call()
