"""The yardstick: the least a Flask application can do for a POST that answers with about 200 bytes of JSON."""

from typing import Any

from flask import Flask

app = Flask(__name__)


@app.post("/api/v1/messages")
def post_message() -> tuple[dict[str, Any], int]:
    return {"ok": True, "message": "x" * 200}, 201
