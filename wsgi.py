"""The standalone hub as a WSGI application: `gunicorn -c gunicorn.conf.py wsgi:app`."""

import sys

from agentlip import ConfigError, StorageError
from agentlip.server.app import standalone

try:
    app = standalone()
except (ConfigError, StorageError) as error:
    sys.exit(f"agentlip: {error}")
