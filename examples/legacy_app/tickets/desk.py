"""The desk: list, open, comment on and close tickets."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_login import current_user, login_required
from werkzeug.wrappers import Response

from agentlip.errors import InvalidInput

from .models import Ticket, db

pages = Blueprint("desk", __name__)


@pages.route("/")
@login_required
def index() -> str:
    return render_template("index.html", tickets=Ticket.query.order_by(Ticket.id.desc()).all())


@pages.post("/tickets")
@login_required
def add() -> Response:
    title = request.form.get("title", "").strip()
    if not title or len(title) > 150:
        abort(400)
    ticket = Ticket(title=title)
    db.session.add(ticket)
    db.session.commit()
    say(ticket, f"New ticket: {title}")  # added
    return redirect(url_for("desk.show", ticket_id=ticket.id))


@pages.route("/tickets/<int:ticket_id>")
@login_required
def show(ticket_id: int) -> str:
    ticket = db.get_or_404(Ticket, ticket_id)
    hub = current_app.extensions["agentlip"]
    cursor = hub.head()  # before the messages are read: what comes after it arrives over the WebSocket
    messages = hub.messages(topic_id=ticket.topic_id).messages[::-1] if ticket.topic_id else []
    return render_template("ticket.html", ticket=ticket, messages=messages, cursor=cursor)


@pages.post("/tickets/<int:ticket_id>/comments")
@login_required
def comment(ticket_id: int) -> Response:
    say(db.get_or_404(Ticket, ticket_id), request.form.get("text", ""))
    return redirect(url_for("desk.show", ticket_id=ticket_id))


@pages.post("/tickets/<int:ticket_id>/close")
@login_required
def close(ticket_id: int) -> Response:
    ticket = db.get_or_404(Ticket, ticket_id)
    ticket.closed = True
    db.session.commit()
    hub = current_app.extensions["agentlip"]
    hub.append("ticket.closed", {"topic_id": ticket.topic_id}, {"ticket": ticket.id, "by": current_user.name})  # added
    return redirect(url_for("desk.show", ticket_id=ticket_id))


def say(ticket: Ticket, text: str) -> None:
    """Post in the ticket's topic, which is made with its first message."""
    hub = current_app.extensions["agentlip"]
    if ticket.topic_id is None:
        ticket.topic_id = hub.create_topic(tickets_channel(), f"#{ticket.id} {ticket.title}").topic.id
        db.session.commit()
    if text.strip():
        hub.post_message(ticket.topic_id, current_user.name, text)


def tickets_channel() -> str:
    """The id of the hub's channel for tickets; the first one who needs it makes it."""
    hub = current_app.extensions["agentlip"]
    with suppress(InvalidInput):  # it is there
        hub.create_channel("tickets")
    return next(channel.id for channel in hub.channels() if channel.name == "tickets")
