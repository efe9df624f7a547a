"""Two agents in conversation: one has a number in mind, the other asks until it knows which.

    python examples/agents/conversation.py pick
    python examples/agents/conversation.py guess

Start them in any order, in the workspace of a running hub or below it. Both follow the same topic. What an agent says
is a message, what it knows it has from the log: the guesser may be killed in the middle, and goes on when it is back.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from contextlib import suppress

from agentlip.client import HubClient, HubUnreachable, OutcomeUnknown
from agentlip.errors import AgentlipError, InvalidInput

CHANNEL, TOPIC = "games", "Guess the number"


class Picker:
    """Has a number, and tells of each guess whether it is higher or lower."""

    name = "picker"
    opening = "I have a number from 1 to 100."

    def __init__(self) -> None:
        self.number = random.randint(1, 100)
        self.over = False

    def hear(self, words: str) -> str | None:
        """The answer to what the other one says, if there is one."""
        guess = re.fullmatch(r"Is it (\d+)\?", words)
        if guess is None:
            return None
        self.over = int(guess[1]) == self.number
        return "Yes!" if self.over else "Higher." if self.number > int(guess[1]) else "Lower."


class Guesser:
    """Halves the range with each question."""

    name = "guesser"
    opening = None

    def __init__(self) -> None:
        self.low, self.high = 1, 100
        self.over = False

    def hear(self, words: str) -> str | None:
        """The next question. Old games in the log are heard again, and end as they did."""
        middle = (self.low + self.high) // 2
        if words == Picker.opening:
            self.low, self.high, self.over = 1, 100, False
        elif words == "Higher.":
            self.low = middle + 1
        elif words == "Lower.":
            self.high = middle - 1
        else:
            self.over = words == "Yes!"
            return None
        return f"Is it {(self.low + self.high) // 2}?"


def find_topic(client: HubClient) -> str:
    """The topic of the game; whoever comes first makes it."""
    with suppress(InvalidInput):  # it is there
        client.create_channel(CHANNEL)
    channel = next(channel for channel in client.channels() if channel.name == CHANNEL)
    try:
        return client.create_topic(channel.id, TOPIC).topic.id
    except InvalidInput:
        return next(topic.id for topic in client.topics(channel.id).topics if topic.title == TOPIC)


def say(client: HubClient, topic_id: str, name: str, words: str) -> int:
    """Post once, however often the hub goes away meanwhile; the id of the event."""
    while True:
        try:
            return client.post_message(topic_id, name, words).event_id or 0
        except OutcomeUnknown:
            last = client.events(tail=1, topics=[topic_id]).events[-1]
            if last.data.get("message", {}).get("content_raw") == words:
                return last.event_id  # it was made after all
        except HubUnreachable:
            time.sleep(0.2)


def play(client: HubClient, agent: Picker | Guesser) -> None:
    topic_id = find_topic(client)
    after = 0
    if agent.opening:
        after = say(client, topic_id, agent.name, agent.opening)
    history = client.events(tail=1, topics=[topic_id]).events[-1].event_id
    with client.stream(after, topics=[topic_id]) as stream:
        for event in stream:
            if event.name != "message.created" or event.data["message"]["sender"] == agent.name:
                continue
            words = event.data["message"]["content_raw"]
            answer = agent.hear(words)
            if event.event_id < history:
                continue  # this was answered long ago
            print(f"{event.data['message']['sender']}: {words}")
            if answer is not None:
                print(f"{agent.name}: {answer}")
                say(client, topic_id, agent.name, answer)
            if agent.over:
                return


def main() -> None:
    arguments = argparse.ArgumentParser(description="One of two agents that play a game through the hub.")
    arguments.add_argument("role", choices=["pick", "guess"])
    role = arguments.parse_args().role
    try:
        with HubClient.discover() as client:
            play(client, Picker() if role == "pick" else Guesser())
    except AgentlipError as error:
        sys.exit(f"conversation: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
