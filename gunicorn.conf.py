"""gunicorn settings of the standalone hub; all that users change are the AGENTLIP_* settings."""

from agentlip.server.gunicorn.settings import *  # noqa: F403
