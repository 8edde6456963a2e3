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
_PREFIX = "hala_"
"""Gradio has words of its own by keys like `file`, which would be found in place of ours."""
I18N = gr.I18n(
    **{language: {_PREFIX + key: text for key, text in words.items()} for language, words in TRANSLATIONS.items()}
)


def word(key: str) -> gr.i18n.I18nData:
    """Return a label, which the browser shows in the language that is chosen.

    Raises:
        KeyError: there is no such word.
    """
    if key not in TRANSLATIONS["en"]:
        raise KeyError(key)
    return I18N(_PREFIX + key)


_NAMED = {
    "send": ".submit-button",
    "stop": ".stop-button",
    "copy_message": "[aria-label='Copy message']",
    "copy_all": "[aria-label='Copy conversation']",
    "message": ".edit-textarea",
    "conversation": "#conversation [role=log]",
}
"""Parts of the page that Gradio gives no name, or one in English only: key -> where they are."""


_TABS = ("chat", "translate", "compare", "about")


def named() -> str:
    """Return what the page's script writes, as JSON: language -> `names` by where they are, `tabs` by their ids."""
    places = {
        key: ",".join([where, *(f"[aria-label='{words[key]}'][title]" for words in TRANSLATIONS.values())])
        for key, where in _NAMED.items()
    }
    said = {
        language: {"names": {places[key]: words[key] for key in _NAMED}, "tabs": {key: words[key] for key in _TABS}}
        for language, words in TRANSLATIONS.items()
    }
    return json.dumps(said)


def say(key: str, *after: object) -> str:
    """Return what the browser turns into words of the chosen language, and what comes after them."""
    return " ".join((str(word(key)), *map(str, after)))


def refusal(refused: Refused) -> str:
    """Return why something cannot be done now, for the page."""
    return f"⚠️ {say(refused.key, *refused.after)}"


def both(refused: Refused) -> str:
    """Return why something cannot be done now, in both languages: for those who are not at the page."""
    return " / ".join(" ".join((said[refused.key], *map(str, refused.after))) for said in TRANSLATIONS.values())
