"""The hooks under the name that hosts' gunicorn settings may still have: docs/embedding.md."""

from .gunicorn.lifecycle import post_worker_init as post_worker_init
from .gunicorn.lifecycle import worker_int as worker_int
