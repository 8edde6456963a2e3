"""Text from files is data: how it gets into a card without becoming markup, and which characters nothing may hold."""

from __future__ import annotations

import re
import unicodedata

# Steers the direction of what follows, so that a text can be shown otherwise than it is; or cannot be seen at all.
_DECEPTIVE = re.compile(
    "[\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_MARKUP = re.compile(r"[\\`|<>\[\]*_~#!$]")
_LINKED = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=www)\.|@", re.IGNORECASE)


def problem_with_text(text: str, *, lines: bool = False) -> str | None:
    """Why a text cannot be published, or None when it can.

    Args:
        lines: whether it may have line breaks and tabs.
    """
    for character in text:
        if character in "\n\t" and lines:
            continue
        if unicodedata.category(character) in {"Cc", "Cs", "Co", "Cn"} or _DECEPTIVE.match(character):
            return f"has the character U+{ord(character):04X}, which is invisible or changes how the text is shown"
    return None


def cell(value: object) -> str:
    """Return text as one harmless piece of a line: no markup, no link, no line break, nothing invisible."""
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(value))
    text = _MARKUP.sub(r"\\\g<0>", text.replace("&", "&amp;")).replace("\\<", "&lt;").replace("\\>", "&gt;")
    return _LINKED.sub(lambda found: f"&#{ord(found[0])};", text)


def code(value: object, *, table: bool = True) -> str:
    """Return text as inline code: as it is, but for backticks and what cannot be seen.

    Args:
        table: whether it stands in a table, where a bar would end its cell.
    """
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(value)).replace("`", "'")
    return "`" + (text.replace("|", "\\|") if table else text) + "`"
