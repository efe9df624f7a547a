"""The web page for people, at `/ui`: pages and static files, signing in, and the figures only the page needs."""

from __future__ import annotations

from . import data, pages, session

# The JSON calls of the page; `api.register` adds them to its own.
ENDPOINTS = (session.ENDPOINTS, data.ENDPOINTS)

register = pages.register
