"""The tabs of the page, one file each."""

from __future__ import annotations

import gradio as gr


def caller(request: gr.Request) -> str:
    """Return who asks: a page that is open, or a program."""
    return request.session_hash or (request.client.host if request.client else "")
