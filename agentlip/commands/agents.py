"""Agents and their tokens: create, change, list, rotate, revoke."""

from __future__ import annotations

import hashlib
import secrets

from msgspec.structs import asdict

from ..errors import Forbidden
from ..model import (
    ALL_SCOPES,
    AgentAnswer,
    AgentListed,
    AgentPage,
    AgentResult,
    ChangeAgent,
    CreateAgent,
    CreateToken,
    NewAgent,
    NewToken,
    RotatedToken,
    RotateTokens,
    Token,
    TokenAnswer,
    TokenPage,
    WhoAmI,
    fields,
)
from ..model.agents import Agent
from ..store import agents as rows
from .noun import Noun

_USUAL_SCOPES = ("read", "write")
_GRACE_SECONDS = 300


def secret_digest(secret: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _new_secret() -> str:
    return f"alp_{secrets.token_urlsafe(32)}"


class Agents(Noun):
    """Commands on agents. Whoever calls them has been let in to do so."""

    def create_agent(self, name: str, kind: str = "agent", description: str | None = None) -> NewAgent:
        """Create an agent with a token. Raises Conflict when there is one of this name."""
        return self.add_agent(CreateAgent(name, kind, description))  # type: ignore[arg-type]

    def add_agent(self, asked: CreateAgent) -> NewAgent:
        """As create_agent, of a request."""
        secret = _new_secret()
        grant = self._grant(secret, CreateToken())

        def made(agent: Agent, token: Token, event_id: int) -> NewAgent:
            return NewAgent(agent, secret, token.token_id, event_id)

        return self._change(made, rows.create, asked.name, asked.kind or "agent", asked.description, grant)

    def change_agent(self, name: str, asked: ChangeAgent) -> AgentResult:
        """Change the description or the kind, disable it, or enable it again."""
        wanted = fields.key(name, "name"), asked.description, asked.kind, asked.disabled
        return self._change(AgentResult, rows.change, *wanted)

    def agents(self) -> AgentPage:
        """All agents, by name."""
        return AgentPage([_listed(each) for each in self._home.store.read(rows.agents)])

    def agent(self, name: str) -> AgentAnswer:
        return AgentAnswer(_listed(self._home.store.read(rows.agent, fields.key(name, "name"))))

    def add_token(self, name: str, asked: CreateToken) -> NewToken:
        """Make a further token for an agent. Raises Forbidden when it may do more than the caller."""
        secret = _new_secret()
        grant = self._grant(secret, asked)

        def made(token: Token) -> NewToken:
            told = token.label, token.scopes, token.channels, token.created_at, token.expires_at
            return NewToken(secret, token.token_id, *told)

        return self._change(made, rows.add_token, fields.key(name, "name"), grant)

    def rotate_tokens(self, name: str, asked: RotateTokens | None = None) -> RotatedToken:
        """Make a token in the place of the others, which end after the grace. An agent may do so for itself."""
        grace = _GRACE_SECONDS if asked is None or asked.grace_seconds is None else asked.grace_seconds
        secret, name = _new_secret(), fields.key(name, "name")
        if self._is_own(name):
            grant = self._grant(secret, _like(self._caller.token))  # type: ignore[union-attr]
        else:
            self._demand_admin()
            found = self._home.store.read(rows.tokens, name)
            grant = self._grant(secret, _like(found[-1]) if found else CreateToken())

        def made(token: Token, end: str) -> RotatedToken:
            return RotatedToken(secret, token.token_id, end)

        return self._change(made, rows.rotate, name, grant, grace)

    def tokens(self, name: str) -> TokenPage:
        """An agent's tokens, without their secrets."""
        return TokenPage(self._home.store.read(rows.tokens, fields.key(name, "name")))

    def revoke_token(self, name: str, token_id: str) -> TokenAnswer:
        """End a token, in every process within a second; doing it twice changes nothing."""
        wanted = fields.key(name, "name"), fields.key(token_id, "token_id")
        return self._change(TokenAnswer, rows.revoke, *wanted)

    def whoami(self) -> WhoAmI:
        """Who the commands are carried out for."""
        if self._caller is None:
            return WhoAmI(None, list(ALL_SCOPES), None, True)
        token = self._caller.token
        return WhoAmI(self._caller.agent, token.scopes, token.channels, "admin" in token.scopes)

    def _is_own(self, name: str) -> bool:
        return self._caller is not None and self._caller.agent.name == name

    def _demand_admin(self) -> None:
        if self._caller is not None and "admin" not in self._caller.token.scopes:
            raise Forbidden("This token is for its own agent alone")

    def _grant(self, secret: str, asked: CreateToken) -> rows.Grant:
        """What a new token may do: no more than the caller's, and no longer."""
        scopes, channels, until = asked.scopes or _USUAL_SCOPES, asked.channels, None
        if self._caller is not None:
            until = self._caller.token.expires_at
            if not set(scopes) <= set(self._caller.token.scopes):
                raise Forbidden("A token cannot make one that may do more")
            if self._confined is not None:
                channels = sorted(self._confined) if channels is None else channels
                if not set(channels) <= self._confined:
                    raise Forbidden("A token cannot make one that may do more")
        return rows.Grant(secret_digest(secret), scopes, channels, asked.label, asked.expires_in, until)


def _like(token: Token) -> CreateToken:
    return CreateToken(token.label, token.scopes, token.channels)  # type: ignore[arg-type]


def _listed(agent: Agent) -> AgentListed:
    return AgentListed(**asdict(agent), presence=None, unacked=0)
