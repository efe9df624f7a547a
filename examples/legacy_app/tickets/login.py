"""Who is there: the login form, and the way out."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import login_required, login_user, logout_user
from werkzeug.wrappers import Response

from .models import User

pages = Blueprint("login", __name__)


@pages.route("/login", methods=["GET", "POST"])
def form() -> str | Response:
    if request.method == "POST":
        user = User.query.filter_by(name=request.form.get("name", "")).first()
        if user is not None and user.knows(request.form.get("password", "")):
            login_user(user)
            return redirect(url_for("desk.index"))
        flash("Wrong name or password.")
    return render_template("login.html")


@pages.post("/logout")
@login_required
def leave() -> Response:
    logout_user()
    return redirect(url_for("login.form"))
