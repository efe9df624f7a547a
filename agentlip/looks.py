"""Text as people see it: whether anything of it is visible, and which names look the same."""

from __future__ import annotations

import re
import unicodedata

# What takes no ink: format and filler characters, selectors of variants. Without white space and controls.
_IGNORED = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(rf"[^\s\u2800\u0300-\u036f{_IGNORED}]")
# Also the ends of lines and paragraphs, and what turns the direction of all that follows.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_DROPPED = re.compile(f"[{_IGNORED}]")
_SPACE = re.compile(r"[^\S ]")


def is_visible(text: str) -> bool:
    """Whether anything of the text can be seen. Control characters are data, and count as such."""
    return _VISIBLE.search(text) is not None


def has_control(text: str) -> bool:
    return _CONTROL.search(text) is not None


def look_of(name: str) -> str:
    """Equal for two names that look the same: in any composition of letters and accents, with or without what cannot
    be seen, and whatever space is around them."""
    return unicodedata.normalize("NFC", _DROPPED.sub("", _SPACE.sub(" ", name))).strip(" ")
