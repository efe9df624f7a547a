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

from agentlip.client import HubClient, HubUnreachable, OutcomeUnknown
from agentlip.errors import AgentlipError

TOPIC = "games/Guess the number"


class Picker:
    """Has a number, and tells of each guess whether it is higher or lower."""

    name = "picker"
    opening = "I have a number from 1 to 100."

    def __init__(self) -> None:
        self.number = random.randint(1, 100)
        self.over = False

    def hear(self, sender: str, words: str) -> str | None:
        """The answer to a guess."""
        found = re.fullmatch(r"Is it (\d+)\?", words)
        if found is None:
            self.over = words == "Yes!"  # its own last word
            return None
        guess = int(found[1])
        if guess == self.number:
            return "Yes!"
        return f"Higher than {guess}." if self.number > guess else f"Lower than {guess}."


class Guesser:
    """Halves the range with each question."""

    name = "guesser"
    opening = None

    def __init__(self) -> None:
        self.low, self.high = 1, 100
        self.asked = ""
        self.over = False

    def hear(self, sender: str, words: str) -> str | None:
        """The next question. Old games in the log are heard again, and end as they did.

        It hears itself, too: what it asked before it was killed, it does not ask again.
        """
        if sender == self.name:
            self.asked = words
            return None
        told = re.fullmatch(r"(Higher|Lower) than (\d+)\.", words)
        if words == Picker.opening:
            self.low, self.high, self.asked, self.over = 1, 100, "", False
        elif told is None:
            self.over = words == "Yes!"
            return None
        elif told[1] == "Higher":
            self.low = max(self.low, int(told[2]) + 1)
        else:
            self.high = min(self.high, int(told[2]) - 1)
        question = f"Is it {(self.low + self.high) // 2}?"
        return None if question == self.asked else question


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
    topic_id = client.topic(TOPIC, create=True).id  # whoever comes first makes it
    after = 0
    if agent.opening:
        after = say(client, topic_id, agent.name, agent.opening)
    history = client.events(tail=1, topics=[topic_id]).events[-1].event_id
    with client.stream(after, topics=[topic_id]) as stream:
        for event in stream:
            if event.name != "message.created":
                continue
            message = event.data["message"]
            answer = agent.hear(message["sender"], message["content_raw"])
            if event.event_id < history:
                continue  # this was answered long ago
            print(f"{message['sender']}: {message['content_raw']}")
            if answer is not None:
                say(client, topic_id, agent.name, answer)
            if agent.over and event.event_id > history:
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
