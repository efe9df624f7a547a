"""Agents and their tokens: the rows, what may be asked, what is answered, what is told."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from .fields import (
    AgentKind,
    AgentName,
    Description,
    Flag,
    GraceSeconds,
    Ids,
    Lifetime,
    Request,
    Scopes,
    TokenLabel,
)
from .payload import Payload
from .result import Result

ALL_SCOPES = ("read", "write", "admin")


class Agent(Struct, frozen=True, gc=False):
    """A name with credentials; `kind` is `agent`, `person` or `service`."""

    id: str
    name: str
    kind: str
    description: str | None
    created_at: str
    disabled_at: str | None


class Token(Struct, frozen=True):
    """What is known of a token, but for its secret; `channels` are those that it is confined to, None for all."""

    token_id: str
    label: str | None
    scopes: list[str]
    channels: list[str] | None
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None


class Identity(Struct, frozen=True):
    """Who a call comes from: an agent, by one of its tokens, with what that token may do."""

    agent: Agent
    token: Token

    @property
    def channels(self) -> frozenset[str] | None:
        """What it is confined to; None for everything."""
        return None if self.token.channels is None else frozenset(self.token.channels)


class CreateAgent(Request):
    name: AgentName
    kind: AgentKind | None = None
    description: Description | None = None


class ChangeAgent(Request):
    """What is absent, or null, stays as it is."""

    description: Description | None = None
    kind: AgentKind | None = None
    disabled: Flag | None = None


class CreateToken(Request):
    """`channels` are those that the token is confined to; `expires_in` is in seconds."""

    label: TokenLabel | None = None
    scopes: Scopes | None = None
    channels: Ids | None = None
    expires_in: Lifetime | None = None


class RotateTokens(Request):
    """How many seconds the other tokens of the agent remain good; 300 if it is absent."""

    grace_seconds: GraceSeconds | None = None


class AgentListed(Agent, frozen=True):
    """An agent, and how it is: `unacked` is how many entries of its inbox wait."""

    presence: None
    unacked: int


class NewAgent(Result, frozen=True):
    """`token` is told this once."""

    agent: Agent
    token: str
    token_id: str
    event_id: int


class AgentResult(Result, frozen=True):
    """`event_id` is None when nothing changed."""

    agent: Agent
    event_id: int | None


class AgentAnswer(Result, frozen=True):
    agent: AgentListed


class AgentPage(Result, frozen=True):
    """By name."""

    agents: list[AgentListed]


class NewToken(Struct, frozen=True):
    """`token` is told this once."""

    token: str
    token_id: str
    label: str | None
    scopes: list[str]
    channels: list[str] | None
    created_at: str
    expires_at: str | None


class RotatedToken(Result, frozen=True):
    """`token` is told this once; the others end at that time, if they have not ended before."""

    token: str
    token_id: str
    old_tokens_end_at: str


class TokenAnswer(Result, frozen=True):
    token: Token


class TokenPage(Result, frozen=True):
    """The oldest first."""

    tokens: list[Token]


class WhoAmI(Result, frozen=True):
    """`agent` is None for the hub's own token, and for people."""

    agent: Agent | None
    scopes: list[str]
    channels: list[str] | None
    admin: bool


class AgentCreated(Payload, frozen=True):
    event: ClassVar = "agent.created"
    scope_ids: ClassVar = ()

    agent: Agent


class AgentUpdated(Payload, frozen=True):
    event: ClassVar = "agent.updated"
    scope_ids: ClassVar = ()

    agent: Agent
