"""Ids sort in commit order, whatever the clock does and whatever ids other hubs have left in the file."""

from __future__ import annotations

import itertools
import random
import re
import string

import pytest

from agentlip.store.ids import base36, new_id

NOW = 1_700_000_000_000
ID_CHARACTERS = string.ascii_letters + string.digits + "_-"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (9, "9"), (10, "a"), (35, "z"), (36, "10"), (1295, "zz"), (NOW, "loyw3v28")]
)
def test_base36_is_written_in_lower_case(number: int, text: str) -> None:
    assert base36(number) == text
    assert int(text, 36) == number


@pytest.mark.parametrize("prefix", ["ch_", "topic_", "msg_", "att_"])
def test_an_id_is_prefix_time_and_more_digits(prefix: str) -> None:
    made = new_id(prefix, NOW, None)
    assert re.fullmatch(prefix + r"[0-9a-z]{20}", made)
    assert int(made[len(prefix) :][:8], 36) == NOW


@pytest.mark.parametrize("now", [0, 1, NOW, 36**8 - 1])
def test_the_time_takes_eight_characters(now: int) -> None:
    made = new_id("msg_", now, None)
    assert len(made) == 24
    assert int(made[4:12], 36) == now


def test_ids_of_two_files_differ() -> None:
    assert len({new_id("msg_", NOW, None) for _ in range(1000)}) == 1000


def strictly_increasing(times: list[int]) -> list[str]:
    made: list[str] = []
    for now in times:
        made.append(new_id("msg_", now, made[-1] if made else None))
    assert all(earlier < later for earlier, later in itertools.pairwise(made))
    assert all(re.fullmatch(r"msg_[0-9a-z]{20,60}", one) for one in made)
    return made


def test_ids_of_one_millisecond_strictly_increase() -> None:
    strictly_increasing([NOW] * 5000)


def test_ids_strictly_increase_when_the_clock_steps_back() -> None:
    made = strictly_increasing([NOW, NOW - 1, NOW - 3_600_000, 0, NOW - 5, NOW, NOW + 1])
    assert int(made[-1][4:12], 36) == NOW + 1


@pytest.mark.parametrize("seed", range(5))
def test_ids_strictly_increase_under_any_clock(seed: int) -> None:
    chance = random.Random(seed)
    strictly_increasing(
        [NOW + chance.choice((-(10**9), -1, 0, 0, 1, 10**6)) * chance.randint(0, 5) for _ in range(1000)]
    )


@pytest.mark.parametrize(
    "last",
    [
        "msg_" + base36(NOW) + "a1b2c3",
        "msg_" + base36(NOW) + "ABC_-x",
        "msg_" + base36(NOW + 5),
        "msg_" + base36(NOW + 5) + "Z" * 12,
        "msg_" + base36(NOW + 5) + "-" * 12,
        "msg_" + base36(NOW + 5) + "_" * 12,
        "msg_" + base36(NOW + 5) + "z" * 12,
        "msg_" + base36(NOW + 5) + "z" * 30,
        "msg_" + base36(NOW + 5) + "zzz_zzzzzzzz",
        "msg_",
        "msg_z",
        "msg_" + "z" * 8,
        "msg_" + "z" * 19,
        "msg_" + "z" * 20,
        "msg_" + "z" * 21,
        "msg_" + "z" * 59,
        "msg_zzzzzzzz_zzzzzzzzzzz",
        "msg_019a3f0c-7d1e-7c3a-9b1e-2f5d6c7b8a90",
        "msg_01HF7YAT00TXQ8W0V2M9E3S5ZK",
        "msg_V1StGXR8_Z5jdHi6B-myT",
    ],
)
def test_a_new_id_sorts_after_any_foreign_one(last: str) -> None:
    made = new_id("msg_", NOW, last)
    assert made > last
    assert re.fullmatch(r"msg_[a-zA-Z0-9_-]{20,60}", made)
    assert new_id("msg_", NOW, made) > made


@pytest.mark.parametrize("prefix", ["msg_", "topic_"])
@pytest.mark.parametrize(
    "body",
    [
        "a" * 61,
        "a" * 100,
        "a" + "z" * 100,
        "y" * 60,
        "y~",
        "y y",
        "y" * 30 + "\N{REPLACEMENT CHARACTER}",
        "y" * 30 + "~" * 90,
    ],
    ids=["61", "100", "a and z", "60", "tilde", "space", "no UTF-8", "long and odd"],
)
def test_what_follows_an_id_that_no_call_takes_is_one_that_calls_take(prefix: str, body: str) -> None:
    made = new_id(prefix, NOW, prefix + body)
    assert made > prefix + body
    assert re.fullmatch(r"[a-zA-Z0-9_-]{24,64}", made)
    following = new_id(prefix, NOW, made)
    assert following > made
    assert re.fullmatch(r"[a-zA-Z0-9_-]{24,64}", following)


@pytest.mark.parametrize("prefix", ["msg_", "topic_"])
@pytest.mark.parametrize("body", ["~", "z~", "\N{REPLACEMENT CHARACTER}", "z" * 60, "z" * 100])
def test_what_nothing_can_follow_is_passed_over(prefix: str, body: str) -> None:
    assert re.fullmatch(prefix + r"[0-9a-z]{20}", new_id(prefix, NOW, prefix + body))


@pytest.mark.parametrize("seed", range(5))
def test_a_new_id_sorts_after_random_foreign_ones(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2000):
        alphabet = chance.choice((ID_CHARACTERS, string.ascii_lowercase, "zZ_-", "z", string.digits))
        last = "msg_" + "".join(chance.choice(alphabet) for _ in range(chance.randint(1, 59)))
        made = new_id("msg_", chance.choice((0, NOW, 36**8 - 1)), last)
        assert made > last
        assert re.fullmatch(r"msg_[a-zA-Z0-9_-]{1,60}", made)


def test_thousands_of_ids_follow_the_largest_foreign_id() -> None:
    last = "msg_" + "z" * 20
    for _ in range(5000):
        following = new_id("msg_", NOW, last)
        assert following > last
        assert len(following) <= 64
        last = following
