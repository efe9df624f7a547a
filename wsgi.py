"""The standalone hub as a WSGI application: `gunicorn -c gunicorn.conf.py wsgi:app`."""

import sys

from agentlip import ConfigError, StorageError, create_app

try:
    app = create_app()
except (ConfigError, StorageError) as error:
    sys.exit(f"agentlip: {error}")
