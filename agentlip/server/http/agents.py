"""Agents and their tokens over HTTP."""

from __future__ import annotations

from ...errors import Conflict, NotFound
from ...model import (
    AgentAnswer,
    AgentPage,
    AgentResult,
    ChangeAgent,
    CreateAgent,
    CreateToken,
    NewAgent,
    NewToken,
    RotatedToken,
    RotateTokens,
    TokenAnswer,
    TokenPage,
    WhoAmI,
)
from .call import Call, Endpoint


def create_agent(call: Call, asked: CreateAgent) -> tuple[int, NewAgent]:
    """Create an agent with a token, which is shown this once."""
    return call.written(201, call.commands.add_agent(asked))


def list_agents(call: Call) -> tuple[int, AgentPage]:
    """All agents, by name."""
    return 200, call.commands.agents()


def read_agent(call: Call, name: str) -> tuple[int, AgentAnswer]:
    """One agent."""
    return 200, call.commands.agent(name)


def change_agent(call: Call, asked: ChangeAgent, name: str) -> tuple[int, AgentResult]:
    """Change an agent's description or kind, disable it, or enable it again."""
    return call.written(200, call.commands.change_agent(name, asked))


def create_token(call: Call, asked: CreateToken, name: str) -> tuple[int, NewToken]:
    """Make a further token for an agent, which is shown this once. It may do no more than the caller's."""
    return 201, call.commands.add_token(name, asked)


def rotate_tokens(call: Call, asked: RotateTokens, name: str) -> tuple[int, RotatedToken]:
    """Make a token in the place of an agent's others, which end after the grace.

    An agent may do so for itself.
    """
    return 201, call.commands.rotate_tokens(name, asked)


def list_tokens(call: Call, name: str) -> tuple[int, TokenPage]:
    """An agent's tokens, without their secrets."""
    return 200, call.commands.tokens(name)


def revoke_token(call: Call, name: str, token_id: str) -> tuple[int, TokenAnswer]:
    """End a token. What was opened with it is closed within a second."""
    return 200, call.commands.revoke_token(name, token_id)


def whoami(call: Call) -> tuple[int, WhoAmI]:
    """Whose token this is, and what it may do."""
    return 200, call.commands.whoami()


_ONE = "/api/v1/agents/<name>"
ENDPOINTS = (
    Endpoint(
        "POST", "/api/v1/agents", create_agent, "admin",
        request=CreateAgent, result=NewAgent, statuses=(201,), errors=(Conflict, NotFound),
    ),
    Endpoint("GET", "/api/v1/agents", list_agents, "read", result=AgentPage),
    Endpoint("GET", _ONE, read_agent, "read", result=AgentAnswer),
    Endpoint("PATCH", _ONE, change_agent, "admin", request=ChangeAgent, result=AgentResult),
    Endpoint(
        "POST", f"{_ONE}/tokens", create_token, "admin",
        request=CreateToken, result=NewToken, statuses=(201,), body_optional=True,
    ),
    Endpoint(
        "POST", f"{_ONE}/tokens/rotate", rotate_tokens, "token",
        request=RotateTokens, result=RotatedToken, statuses=(201,), body_optional=True,
    ),
    Endpoint("GET", f"{_ONE}/tokens", list_tokens, "admin", result=TokenPage),
    Endpoint("DELETE", f"{_ONE}/tokens/<token_id>", revoke_token, "admin", result=TokenAnswer, body_optional=True),
    Endpoint("GET", "/api/v1/whoami", whoami, "token", result=WhoAmI),
)  # fmt: skip
