"""The values of the hub, declared once: rows, requests with their checks, results, the events' payloads.

Field order is key order in JSON (docs/protocol.md, section 3). HTTP, host code, the client and the description of the
API all take these types.
"""

from .agents import (
    ALL_SCOPES,
    Agent,
    AgentAnswer,
    AgentCreated,
    AgentListed,
    AgentPage,
    AgentResult,
    AgentUpdated,
    ChangeAgent,
    CreateAgent,
    CreateToken,
    Identity,
    NewAgent,
    NewToken,
    RotatedToken,
    RotateTokens,
    Token,
    TokenAnswer,
    TokenPage,
    WhoAmI,
)
from .attachments import (
    AddAttachment,
    Attachment,
    AttachmentAdded,
    AttachmentPage,
    AttachmentResult,
    AttachmentsQuery,
)
from .channels import Channel, ChannelCreated, ChannelPage, ChannelResult, ChannelsQuery, CreateChannel
from .events import (
    KNOWN_EVENTS,
    PAYLOADS,
    UNSCOPED,
    Entity,
    EntityName,
    Event,
    EventPage,
    EventRow,
    EventRows,
    EventsQuery,
    Scope,
    ScopeIds,
    StreamQuery,
    timestamp,
)
from .fields import MAX_WAIT_SECONDS, PAGE_ROWS, Request
from .hub import ErrorAnswer, Health, Ping, Pong
from .messages import (
    ChangeMessage,
    DeleteMessage,
    EditMessage,
    Message,
    MessageAnswer,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageEnriched,
    MessageMoved,
    MessagePage,
    MessageResult,
    MessagesQuery,
    MoveMessages,
    MoveResult,
    PostMessage,
    SearchPage,
    SearchQuery,
)
from .payload import Payload
from .result import Result
from .topics import CreateTopic, RenameTopic, Topic, TopicCreated, TopicPage, TopicRenamed, TopicResult, TopicsQuery
