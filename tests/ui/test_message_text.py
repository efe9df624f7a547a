"""Message text is shown whole: marks become code and links, and no other character goes away."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from ..running_hub import Hub
from .person import Person

Visit = Callable[..., Person]
# Draws each text as a message is drawn, and reads it off again: its text, its code, its links.
DRAW = """async (texts) => {
  const base = new URL("static/", location.href.split("?")[0]);
  const { html, render } = await import(new URL("html.js", base));
  const { Content } = await import(new URL("text.js", base));
  return texts.map((text) => {
    const root = document.createElement("div");
    render(html`<${Content} text=${text} />`, root);
    const pres = [...root.querySelectorAll("pre")];
    const result = {
      blocks: pres.map((pre) => [pre.dataset.language ?? null, pre.textContent]),
      inline: [...root.querySelectorAll("code")].filter((each) => !each.closest("pre")).map((each) => each.textContent),
      links: [...root.querySelectorAll("a")].map((each) => each.getAttribute("href")),
    };
    for (const pre of pres) pre.prepend(pre.dataset.language ?? "");
    return { ...result, text: root.textContent };
  });
}"""
PIECES = (
    *("`", "``", "```", "````", "`````", "\n", "\r\n", " ", "\t", "js", "c++", "c#", "make", "a", "é", "🐈", "日本語"),
    *(
        "```js\n",
        "\n```\n",
        "```\n",
        "`x`",
        "http://a.example/b",
        "https://a.example/(b)",
        "(",
        ")",
        "]",
        "*",
        ".",
        "<b>",
    ),
)


@pytest.fixture
def draw(hub: Hub, visit: Visit) -> Callable[[list[str]], list[dict[str, Any]]]:
    page: Page = visit(hub).sign_in()
    return lambda texts: page.evaluate(DRAW, texts)


def letters(text: str) -> str:
    """All but the marks and the white space, which decide how the rest looks."""
    return re.sub(r"[`\s]", "", text)


def test_no_text_is_lost(draw: Callable[[list[str]], list[dict[str, Any]]]) -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choices(PIECES, k=chance.randint(1, 14))) for _ in range(20_000)]
    drawn = draw(texts)
    assert [text for text, each in zip(texts, drawn, strict=True) if letters(each["text"]) != letters(text)] == []
    assert sum(bool(each["blocks"]) for each in drawn) > 1000
    assert sum(bool(each["inline"]) for each in drawn) > 1000


BLOCKS: dict[str, list[list[str | None]]] = {
    "run ```make``` now": [[None, "make"]],
    "```make```": [[None, "make"]],
    "```js```": [[None, "js"]],
    "```js let a = 1```": [[None, "js let a = 1"]],
    "```js\nlet a = 1\n```": [["js", "let a = 1"]],
    "```c#  \r\nvar a;\r\n```": [["c#", "var a;"]],
    "```\nplain\n```": [[None, "plain"]],
    "see\n```sh\nls": [["sh", "ls"]],
    "````md\n```js\nx\n```\n````": [["md", "```js\nx\n```"]],
    "```a``` and ```b```": [[None, "a"], [None, "b"]],
    "```python title=x\ncode\n```": [[None, "python title=x\ncode"]],
}


@pytest.mark.parametrize("text", BLOCKS, ids=repr)
def test_blocks(draw: Callable[[list[str]], list[dict[str, Any]]], text: str) -> None:
    assert draw([text])[0]["blocks"] == BLOCKS[text]


@pytest.mark.parametrize(
    "text", ["```", "```js", "a ``` b", "``````", "``` ```", "```js\n```", "`", "``", "` `` ```", "5` and 6"]
)
def test_marks_around_nothing_are_text(draw: Callable[[list[str]], list[dict[str, Any]]], text: str) -> None:
    (drawn,) = draw([text])
    assert drawn == {"blocks": [], "inline": [], "links": [], "text": text}


def test_code_in_a_line(draw: Callable[[list[str]], list[dict[str, Any]]]) -> None:
    (drawn,) = draw(["`a` ``b ` c`` `d\ne`"])
    assert drawn == {"blocks": [], "inline": ["a", "b ` c"], "links": [], "text": "a b ` c `d\ne`"}


LINKS = {
    "(https://a.example/wiki/Mercury_(planet)).": "https://a.example/wiki/Mercury_(planet)",
    "https://a.example/Hobson's_choice": "https://a.example/Hobson's_choice",
    "**https://a.example**": "https://a.example",
    "[words](https://a.example)": "https://a.example",
    "[https://a.example]": "https://a.example",
    "“https://a.example”": "https://a.example",
    "https://a.example。": "https://a.example",
    "http://a.example/" + ")" * 3000: "http://a.example/",
}


@pytest.mark.parametrize("text", LINKS, ids=lambda text: text[:40])
def test_links_end_where_people_see_them_end(draw: Callable[[list[str]], list[dict[str, Any]]], text: str) -> None:
    (drawn,) = draw([text])
    assert drawn["links"] == [LINKS[text]]
    assert drawn["text"] == text
