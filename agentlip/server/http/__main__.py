"""`python -m agentlip.server.http` prints the description of the API: docs/openapi.json is made with it."""

from __future__ import annotations

import json

from .openapi import describe
from .table import ENDPOINTS

print(json.dumps(describe(ENDPOINTS), indent=1, ensure_ascii=False))
