"""The web page for people, at `/ui`: pages and static files, signing in, and the figures only the page needs."""

from __future__ import annotations

from . import data, pages, sign_in

# The JSON calls of the page; `http.table` adds them to its own.
ENDPOINTS = (sign_in.ENDPOINTS, data.ENDPOINTS)

register = pages.register
