"""gunicorn's settings for the standalone hub; `gunicorn.conf.py` and `agentlip up` use them."""

import sys

from ... import listening
from ...workspace.finding import HUB_LOG
from .. import logs
from . import lifecycle

settings = lifecycle.settings_or_exit()
for name in ("stdout", "stderr"):
    logs.never_block(name, settings.db.parent / HUB_LOG)
lifecycle.find_temporary_folder(settings)

bind = listening.bind_address(settings)
workers = settings.workers
worker_class = "agentlip.server.gunicorn.worker.Worker"
# Sockets beyond our own limit must reach the application to be told 503, not hang in the backlog.
worker_connections = settings.max_connections * 2 + 1000
preload_app = False  # locks made before the worker is patched would stay native and freeze it
control_socket_disable = True
# As long as gunicorn knows how to read: 240 ids in a query.
limit_request_line = 8190
# What a peer says of itself changes nothing here; AGENTLIP_TRUSTED_PROXIES says whose word counts for what.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
graceful_timeout = 6  # seconds; sockets are told at once, this is for writes that wait for the database
# On a terminal a few lines of our own tell what matters.
loglevel = "warning" if sys.stderr.isatty() and settings.log_level == "info" else settings.log_level
# For those who switch the access log on: the path without its query, which may hold a token.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(L)s'

on_starting = lifecycle.on_starting
when_ready = lifecycle.when_ready
post_fork = lifecycle.post_fork
post_worker_init = lifecycle.post_worker_init
worker_int = lifecycle.worker_int
on_reload = lifecycle.on_reload
on_exit = lifecycle.on_exit
