"""The same question to a model of the family and to what it was made from."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from answer import Answers, Ended, Text, Waiting
from backends import Message, Options
from family import Family
from limits import MESSAGE, Refused, checked
from tabs import caller
from words import refusal, say, word

LENGTH = 256
"""Tokens of each of the two answers."""
Shown = tuple[str, str, str]


def build(family: Family, answers: Answers) -> None:
    """Lay the tab out."""
    tuned = {model.id: model for model in family.chat if model.id in family.bases}
    first = next(iter(tuned))
    gr.Markdown(word("compare_note"))
    model = gr.Dropdown(
        [(one.title, one.id) for one in tuned.values()],
        value=first,
        label=word("model"),
        filterable=False,
        elem_id="compare-model",
    )
    question = gr.Textbox(
        value="", label=word("question"), lines=2, max_lines=6, max_length=MESSAGE, elem_id="compare-question"
    )
    with gr.Row(elem_classes="controls"):
        ask = gr.Button(word("ask_both"), variant="primary", elem_id="compare-ask")
        stop = gr.Button(word("stop"), variant="stop", elem_id="compare-stop")
    status = gr.Markdown("", elem_classes="status", elem_id="compare-status")
    panels = []
    with gr.Row(equal_height=True):
        for key in ("base", "tuned"):
            with gr.Column():
                panels.append(
                    gr.Textbox(
                        value="",
                        label=word(key),
                        lines=8,
                        max_lines=20,
                        interactive=False,
                        buttons=["copy"],
                        elem_id=f"compare-{key}",
                        elem_classes="answer",
                    )
                )

    async def both(text: str, name: str, request: gr.Request) -> AsyncGenerator[Shown]:
        said = ["", ""]
        try:
            checked(text, MESSAGE)
            pair = family.bases.get(name), family.model(name)
            asked = [Message(role="user", content=text)]
            why = "done"
            for place, one in enumerate(one for one in pair if one):
                stream = answers.stream(caller(request), one, asked, Options(temperature=0, tokens=LENGTH))
                async with aclosing(stream) as events:
                    async for event in events:
                        match event:
                            case Waiting(number):
                                yield said[0], said[1], say("waiting", number)
                            case Text(text):
                                said[place] = text
                                yield said[0], said[1], f"{say('working')} `{one.id}`"
                            case Ended(text, why):
                                said[place] = text
            yield said[0], said[1], say("cut") if why == "time" else say("done")
        except Refused as refused:
            yield said[0], said[1], refusal(refused)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    running = gr.on([ask.click, question.submit], both, [question, model], [*panels, status], **quiet)
    stop.click(lambda: say("stopped"), None, status, cancels=[running], queue=False, api_visibility="private")
