"""URLs in text and in attachments: where they end, which are none, and how much work a hostile text can make."""

# ruff: noqa: RUF001
from __future__ import annotations

import logging
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlip.errors import InvalidInput
from agentlip.store import urls as module
from agentlip.store.urls import MAX_LINKS, check_link, find_urls


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", []),
        ("no url: //x http:/x ftp://x mailto:a@b example.com", []),
        ("https://a.example", ["https://a.example"]),
        ("xhttps://a.example", ["https://a.example"]),
        ("HTTPS://A.example/B", ["HTTPS://A.example/B"]),
        ("(https://a.example/b_(c)).,;:!?", ["https://a.example/b_(c)"]),
        ("https://a https://b https://a", ["https://a", "https://b"]),
        ("<https://a> \"https://b\" 'https://c' `https://d`", ["https://a", "https://b", "https://c", "https://d"]),
        ("https://a\0b https://c\x1fd https://e\nf", ["https://a", "https://c", "https://e"]),
        ("https://", []),
        ("https://?!. http:///path https://[bad http://:80", []),
        ("https://user@a:8443/p?q=1&r=2#f", ["https://user@a:8443/p?q=1&r=2#f"]),
        ("https://ü.example/ü", ["https://ü.example/ü"]),
        ("https://a/?javascript:alert(1) https://b/data:text/html,x", []),
        ("https://a/" + "x" * 2038, ["https://a/" + "x" * 2038]),
        ("https://a/" + "x" * 2039, []),
        ("[text](https://a.example/x)", ["https://a.example/x"]),
        ("https://a.b/wiki/Mercury_(planet).", ["https://a.b/wiki/Mercury_(planet)"]),
        ("(https://a.b/x_(y)) (https://a.b/z)!", ["https://a.b/x_(y)", "https://a.b/z"]),
        ("https://a.b/x[1] [https://c.d/{e}]", ["https://a.b/x[1]", "https://c.d/{e}"]),
        ("https://a.b/x(y https://a.b/x(", ["https://a.b/x(y", "https://a.b/x"]),
        ("https://a.b/Hobson's_choice", ["https://a.b/Hobson's_choice"]),
        ("'https://a.b', 'https://c.d'", ["https://a.b", "https://c.d"]),
        ("**https://a.b** *https://c.d*, __https://e.f__: ~~https://g.h~~", [
            "https://a.b", "https://c.d", "https://e.f", "https://g.h",
        ]),
        ("**https://a.b**text **look at https://c.d.**", ["https://a.b", "https://c.d"]),
        ("[x](https://a.b)y ![](https://c.d 'title') [https://e.f](https://g.h)", [
            "https://a.b", "https://c.d", "https://e.f", "https://g.h",
        ]),
        ("<https://a.b> <https://c.d|label> |https://e.f|x|", ["https://a.b", "https://c.d", "https://e.f"]),
        ("“https://a.b” ‘https://c.d’ «https://e.f» „https://g.h“ ‹https://i.j›", [
            "https://a.b", "https://c.d", "https://e.f", "https://g.h", "https://i.j",
        ]),
        ("「https://a.b」、https://c.d。（https://e.f）https://g.h，https://i.j！", [
            "https://a.b", "https://c.d", "https://e.f", "https://g.h", "https://i.j",
        ]),
        ("https://a.b/ジョン・々〆 https://c.d… https://e.f—then", ["https://a.b/ジョン・々〆", "https://c.d", "https://e.f"]),
        ("https://a.b\u200b https://c.d\u00a0x https://e.f\u3000x", ["https://a.b", "https://c.d", "https://e.f"]),
        ("https://a.b\\nhttps://c.d", ["https://a.b", "https://c.d"]),
        ("https://h:99999/ https://h:65536 https://h:x/ https://h:65535/", ["https://h:65535/"]),
        ("https://... https://a..b/ https://-/ https://a%20b/ https://a^b/ https://[::1]:8/x", ["https://[::1]:8/x"]),
        ("https://[::zz]/ https://" + "a" * 254, []),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_find_urls(text: str, urls: list[str]) -> None:
    assert find_urls(text) == urls


@pytest.mark.parametrize(
    ("allow", "block", "urls"),
    [
        ([], [], ["https://a.example/1", "https://b.example/2"]),
        (["a"], [], ["https://a.example/1", "https://b.example/2"]),
        ([r"//a\."], [], ["https://a.example/1"]),
        ([r"//a\.", "2$"], [], ["https://a.example/1", "https://b.example/2"]),
        ([], ["2$"], ["https://a.example/1"]),
        (["example"], ["example"], []),
        (["nothing"], [], []),
    ],
)
def test_a_block_pattern_comes_before_an_allow_pattern(allow: list[str], block: list[str], urls: list[str]) -> None:
    found = find_urls(
        "https://a.example/1 https://b.example/2",
        [re.compile(one) for one in allow],
        [re.compile(one) for one in block],
    )
    assert found == urls


# Every letter that may be in a URL, and brackets that are closed again.
PATHS = st.recursive(
    st.text(st.sampled_from("abcXYZ019-~%/?#@!$&+,;=.:üЖ山🙂'_")),
    lambda inner: st.tuples(inner, st.sampled_from(["()", "[]", "{}"]), inner).map(
        lambda parts: f"{parts[0]}{parts[1][0]}{parts[2]}{parts[1][1]}"
    ),
    max_leaves=4,
)
URLS = st.tuples(st.sampled_from(["http", "https"]), st.sampled_from(["a.b", "h:1", "[::1]", "ü.example"]), PATHS).map(
    lambda parts: f"{parts[0]}://{parts[1]}/{parts[2]}x"
)
AROUND = [
    "{}",
    "({})",
    "[t]({})",
    "**{}**",
    "<{}>",
    "“{}”",
    "「{}」",
    '"{}"',
    "`{}`",
    "see {}.",
    "{}, {{",
    "{}?!",
    "{}\n",
]


@given(URLS, st.sampled_from(AROUND))
def test_a_url_is_found_whole_whatever_is_around_it(url: str, around: str) -> None:
    assert find_urls(around.format(url)) == [url]


@given(st.text(st.sampled_from("https://a.b()[]{}<>\"'*_~|`\\ .,:0129%@\n\0“”。（）é\u200b")))
def test_what_is_found_stands_in_the_text_is_a_link_and_is_found_again(text: str) -> None:
    found = find_urls(text)
    assert len(found) == len(set(found))
    for url in found:
        assert url in text
        assert url[-1] not in ".,;:!?*_~'([{|"
        assert not re.search(r"[\s\0<>\"`“”。（）]", url)
        check_link({"url": url})
        assert find_urls(url) == [url]


REPEATED = [
    "https://a.b ", "https://a)", "*https://a*", "'https://a", "|https://a", "https://a((", "https://(", "https://[",
    "https://", "https://a/" + "x" * 3000 + " ", "https://a/?" + "data:" * 400 + " ",
    "https://a/?" + "data:s" * 330 + " ",
]  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED, ids=lambda piece: piece[:20])
def test_the_work_is_bounded_for_any_text(piece: str) -> None:
    text = "".join(piece.replace("//a", f"//a{number}") for number in range(65_536 // len(piece)))
    started = time.thread_time()
    assert len(find_urls(text)) <= MAX_LINKS
    assert time.thread_time() - started < 0.25  # 0.02 and less where nothing else runs


def test_the_first_fifty_links_count() -> None:
    wanted = [f"https://a.b/{number}" for number in range(60)]
    assert find_urls(" ".join(["https://h:99999/", *wanted[:2], *wanted])) == wanted[:50]


def test_a_pattern_that_takes_too_long_lets_no_url_through_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    slow = re.compile(r"^https://(a|aa)+$")
    text = "https://good.example/ https://" + "a" * 60 + "/ https://later.example/ " * 30
    module._tell.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            started = time.thread_time()
            assert find_urls(text, block=[slow]) == ["https://good.example/"]
            assert time.thread_time() - started < 0.5
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://exa mple.com/", "https://a b@h/", "https://h:99999/", "https://h:x/", "https:///x", "https://%41/",
        "https://a\u00a0b/", "https://[::zz]/", "https://a/?DATA:text/html,x", "https://a/?data:  x/script", "ftp://a",
        "https://a/?x=data:,data:xml", "https://a/?x=JavaScript:1",
    ],
)  # fmt: skip
def test_links_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_link({"url": url})


@pytest.mark.parametrize(
    "url", ["https://a/my file.pdf", "https://a/?data:,x", "https://a/?data:x,script", "http://h:0/"]
)
def test_links_that_are_some(url: str) -> None:
    check_link({"url": url, "title": "the data: a script"})
