"""What the page says, in Arabic and English; the browser shows the one that is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
from limits import Refused

_FOLDER = Path(__file__).parent
TRANSLATIONS: dict[str, dict[str, str]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.json"))
}
WORDS = gr.I18n(**TRANSLATIONS)


_NAMED = {
    "send": ".submit-button",
    "stop": ".stop-button",
    "copy_message": ".message-buttons button:first-child",
    "copy_all": "#conversation .top-panel button:nth-child(2)",
    "conversation": "#conversation [role=log]",
}
"""Parts of the page that Gradio gives no name, or one in English only: key -> where they are."""


def named() -> str:
    """Return the names of buttons as JSON, for the page's script: language -> where -> name."""
    return json.dumps({language: {_NAMED[key]: said[key] for key in _NAMED} for language, said in TRANSLATIONS.items()})


def say(key: str, *after: object) -> str:
    """Return what the browser turns into words of the chosen language, and what comes after them."""
    if key not in TRANSLATIONS["en"]:
        raise KeyError(key)
    return " ".join((str(WORDS(key)), *map(str, after)))


def refusal(refused: Refused) -> str:
    """Return why something cannot be done now, for the page."""
    return f"⚠️ {say(refused.key, *refused.after)}"


def both(refused: Refused) -> str:
    """Return why something cannot be done now, in both languages: for those who are not at the page."""
    return " / ".join(" ".join((said[refused.key], *map(str, refused.after))) for said in TRANSLATIONS.values())
