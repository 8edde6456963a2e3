"""The tabs of the page, one file each."""

from __future__ import annotations

import gradio as gr

from line import Person


def caller(request: gr.Request) -> Person:
    """Return who asks."""
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return Person(request.session_hash or "", forwarded)
