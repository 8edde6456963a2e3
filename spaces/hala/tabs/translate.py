"""Translate a text or a file, side by side."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

import text as texts
from answer import Answers
from family import LANGUAGES, Family, Language
from limits import FILE, TEXT, Refused
from tabs import caller
from translation import Progress, translate
from words import refusal, say, word

GUESS = "guess"
SAVE = "() => window.hala.save('translation.txt', document.querySelector('#target textarea').value)"
"""The browser makes the file of what it shows; no server keeps one."""


def build(family: Family, answers: Answers) -> None:
    """Lay the tab out."""
    offered = [language for language in LANGUAGES if language in family.translate]
    choices = [(word(f"to_{language}"), language) for language in offered]
    direction = gr.Radio(
        [(word("guess"), GUESS), *choices] if len(offered) > 1 else choices,
        value=GUESS if len(offered) > 1 else offered[0],
        label=word("direction"),
        elem_id="direction",
    )
    with gr.Row(equal_height=True):
        source = gr.Textbox(
            value="",
            label=word("source"),
            placeholder=word("source_hint"),
            lines=10,
            max_lines=24,
            max_length=TEXT,
            min_width=320,
            elem_id="source",
        )
        target = gr.Textbox(
            value="",
            label=word("target"),
            lines=10,
            max_lines=24,
            interactive=False,
            buttons=["copy"],
            min_width=320,
            elem_id="target",
            elem_classes="answer",
        )
    status = gr.Markdown("", elem_id="translate-status", elem_classes="status")
    with gr.Row(elem_classes="controls"):
        go = gr.Button(word("do_translate"), variant="primary", elem_id="translate")
        stop = gr.Button(word("stop"), variant="stop", elem_id="translate-stop")
        swap = gr.Button(word("swap"), elem_id="swap")
        opened = gr.UploadButton(word("open"), file_types=[".txt"], elem_id="open")
        save = gr.Button(word("save"), elem_id="save")

    async def run(text: str, way: str, request: gr.Request) -> AsyncGenerator[tuple[Any, str]]:
        last = Progress("", 0, 0)
        into = None if way == GUESS else next(one for one in LANGUAGES if one == way)
        try:
            yield "", say("working")
            async with aclosing(translate(answers, family, caller(request), text, into)) as steps:
                async for last in steps:
                    yield last.text, _status(last)
            yield last.text, _end(last, into or texts.target(text))
        except Refused as refused:
            yield gr.skip() if last.text else "", refusal(refused)

    async def run_file(path: str | None, way: str, request: gr.Request) -> AsyncGenerator[tuple[Any, Any, str]]:
        try:
            text = _read(path)
        except Refused as refused:
            yield gr.skip(), gr.skip(), refusal(refused)
            return
        yield text, "", say("working")
        async with aclosing(run(text, way, request)) as steps:
            async for step in steps:
                yield gr.skip(), *step

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    running = [go.click(run, [source, direction], [target, status], **quiet)]
    running.append(opened.upload(run_file, [opened, direction], [source, target, status], **quiet))
    now: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    stop.click(lambda: say("stopped"), None, status, cancels=running, **now)
    swap.click(_swapped, [source, target, direction], [source, target, direction], **now)
    save.click(None, None, None, js=SAVE)


def _status(progress: Progress) -> str:
    if progress.place:
        return say("waiting", progress.place)
    return say("translating", f"{progress.done}/{progress.total}")


def _end(progress: Progress, into: Language) -> str:
    said = say(f"guessed_{into}")
    return f"{said} {say('cut')}" if progress.is_cut else said


def _swapped(source: str, target: str, direction: str) -> tuple[str, str, str]:
    turned = {"ar": "en", "en": "ar"}
    return target or source, source if target else "", turned.get(direction, direction)


def _read(path: str | None) -> str:
    """Return the text of an uploaded file.

    Raises:
        Refused: it is none, or too long.
    """
    file = Path(path or "").resolve()
    if not file.is_relative_to(Path(get_upload_folder()).resolve()):  # only what was uploaded is read, and removed
        raise Refused("file", FILE // 1000)
    try:
        if not file.is_file() or file.stat().st_size > FILE:
            raise Refused("file", FILE // 1000)
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("file", FILE // 1000) from error
    finally:
        file.unlink(missing_ok=True)
    if len(text) > TEXT:
        raise Refused("long", f"{TEXT:,}")
    return text
