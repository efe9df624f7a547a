"""The desk's tables."""

from __future__ import annotations

from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

db = SQLAlchemy()


class User(UserMixin, db.Model):  # type: ignore[misc, name-defined]
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(80), unique=True, nullable=False)
    password_hash = db.Column(db.String(200), nullable=False)

    @classmethod
    def make(cls, name: str, password: str) -> User:
        return cls(name=name, password_hash=generate_password_hash(password))

    def knows(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


class Ticket(db.Model):  # type: ignore[misc, name-defined]
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(150), nullable=False)
    closed = db.Column(db.Boolean, nullable=False, default=False)
    topic_id = db.Column(db.String(64))
    """The ticket's topic in the hub, once something was said in it."""
