"""A ticket desk as it has run for years: factory, blueprints, SQLAlchemy, login, CSRF protection, own error pages."""

from __future__ import annotations

import os

from flask import Flask, g, render_template
from flask_login import LoginManager, current_user
from flask_wtf.csrf import CSRFProtect

from agentlip import Agentlip  # added

from . import desk, login
from .models import User, db

csrf = CSRFProtect()
login_manager = LoginManager()
login_manager.login_view = "login.form"

hub = Agentlip(url_prefix="/hub", authorize=lambda action: current_user.is_authenticated or None)  # added


def create_app(config: dict[str, object] | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "only for trying it out")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///tickets.sqlite3"
    app.config["AGENTLIP_DB"] = os.path.join(app.instance_path, "hub.sqlite3")
    app.config.from_mapping(config or {})
    os.makedirs(app.instance_path, exist_ok=True)

    db.init_app(app)
    csrf.init_app(app)
    login_manager.init_app(app)
    hub.init_app(app)  # added
    app.register_blueprint(login.pages)
    app.register_blueprint(desk.pages)

    @login_manager.user_loader
    def load_user(user_id: str) -> User | None:
        return db.session.get(User, int(user_id))

    @app.before_request
    def remember_who() -> None:
        g.who = current_user.name if current_user.is_authenticated else "nobody"

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        return render_template("error.html", text="There is no such page."), 404

    with app.app_context():
        db.create_all()
        if not db.session.query(User).count():
            for name in ("ann", "ben"):
                db.session.add(User.make(name, password=name))
            db.session.commit()
    return app
