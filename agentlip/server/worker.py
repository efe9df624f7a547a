"""The worker class under the name that hosts' gunicorn settings may still have: docs/embedding.md."""

from .gunicorn.worker import Worker as Worker
