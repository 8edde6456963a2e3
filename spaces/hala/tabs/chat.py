"""Chat with a model of the family."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from answer import Answers, Ended, Text, Waiting
from backends import Message, Options
from family import Family
from limits import HOTTEST, MESSAGE, SYSTEM, TOKENS, Refused, checked, short
from tabs import caller
from words import refusal, say, word

History = list[dict[str, Any]]
Shown = tuple[Any, History, str]
"""The box, the conversation, the line below it."""

IDLE = {"submit_btn": True, "stop_btn": False}
BUSY = {"submit_btn": False, "stop_btn": True}


def build(family: Family, answers: Answers) -> None:
    """Lay the tab out."""
    with gr.Row(elem_classes="controls"):
        model = gr.Dropdown(
            [(model.title, model.id) for model in family.chat],
            value=family.chat[0].id,
            label=word("model"),
            filterable=False,
            elem_id="model",
            scale=3,
        )
        new = gr.Button(word("new"), scale=1, elem_id="new")
    conversation = gr.Chatbot(
        label=word("conversation"),
        placeholder=str(word("empty_chat")),
        height="50vh",
        min_height=260,
        editable="user",
        buttons=["copy", "copy_all"],
        sanitize_html=True,
        allow_tags=False,
        feedback_options=None,
        elem_id="conversation",
    )
    status = gr.Markdown("", elem_id="status", elem_classes="status")
    box = gr.Textbox(
        value="",
        label=word("message"),
        info=word("message_hint"),
        lines=1,
        max_lines=8,
        max_length=MESSAGE,
        elem_id="message",
        **IDLE,
    )
    gr.Examples(
        [[text] for texts in family.examples.values() for text in texts],
        inputs=[box],
        label=word("examples"),
        elem_id="examples",
        cache_examples=False,
    )
    with gr.Accordion(word("settings"), open=False, elem_id="settings"):
        system = gr.Textbox(
            value="", label=word("system"), info=word("system_hint"), lines=2, max_length=SYSTEM, elem_id="system"
        )
        temperature = gr.Slider(
            minimum=0,
            maximum=HOTTEST,
            value=0.3,
            step=0.1,
            label=word("temperature"),
            info=word("temperature_hint"),
            elem_id="temperature",
        )
        tokens = gr.Slider(16, TOKENS, value=512, step=16, label=word("length"), elem_id="length")
    settings = [model, system, temperature, tokens]

    async def answer(
        history: History, name: str, prompt: str, heat: float, longest: float, request: gr.Request
    ) -> AsyncGenerator[Shown]:
        options = Options.asked(heat, longest)
        try:
            asked = messages(history, short(prompt, SYSTEM))
            checked(asked[-1]["content"], MESSAGE)  # it may have been edited
            async with aclosing(answers.stream(caller(request), family.model(name), asked, options)) as events:
                async for event in events:
                    match event:
                        case Waiting(place):
                            yield gr.skip(), history, say("waiting", place)
                        case Text(text):
                            yield gr.skip(), _with(history, text), say("working")
                        case Ended(text, why):
                            yield gr.skip(), _with(history, text), say("cut") if why == "time" else ""
        except Refused as refused:
            yield gr.skip(), history, refusal(refused)

    async def send(
        text: str, history: History, name: str, prompt: str, heat: float, longest: float, request: gr.Request
    ) -> AsyncGenerator[Shown]:
        try:
            checked(text, MESSAGE)
        except Refused as refused:
            yield gr.skip(), history, refusal(refused)
            return
        history = [*history, {"role": "user", "content": text}]
        yield gr.Textbox(value="", **BUSY), history, say("working")
        async with aclosing(answer(history, name, prompt, heat, longest, request)) as steps:
            async for step in steps:
                yield step

    async def again(
        history: History,
        name: str,
        prompt: str,
        heat: float,
        longest: float,
        data: gr.RetryData,
        request: gr.Request,
    ) -> AsyncGenerator[Shown]:
        history = history[: _place(data.index) + 1]
        yield gr.Textbox(**BUSY), history, say("working")
        async with aclosing(answer(history, name, prompt, heat, longest, request)) as steps:
            async for step in steps:
                yield step

    async def edited(
        history: History,
        name: str,
        prompt: str,
        heat: float,
        longest: float,
        data: gr.EditData,
        request: gr.Request,
    ) -> AsyncGenerator[Shown]:
        history = [*history[: _place(data.index)], {"role": "user", "content": str(data.value)}]
        yield gr.Textbox(**BUSY), history, say("working")
        async with aclosing(answer(history, name, prompt, heat, longest, request)) as steps:
            async for step in steps:
                yield step

    def undone(history: History, data: gr.UndoData) -> Shown:
        index = _place(data.index)
        return text_of(history[index]["content"]), history[:index], ""

    shown = [box, conversation, status]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    running = [
        box.submit(send, [box, conversation, *settings], shown, **quiet),
        conversation.retry(again, [conversation, *settings], shown, **quiet),
        conversation.edit(edited, [conversation, *settings], shown, **quiet),
    ]
    for event in running:
        event.then(lambda: gr.Textbox(**IDLE), None, box, queue=False, api_visibility="private")
    now: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    box.stop(lambda: (gr.Textbox(**IDLE), say("stopped")), None, [box, status], cancels=running, **now)
    conversation.undo(undone, [conversation], shown, **now)
    for cleared in (new.click, conversation.clear):
        cleared(lambda: (gr.Textbox(value="", **IDLE), [], ""), None, shown, cancels=running, **now)


def messages(history: Sequence[Mapping[str, Any]], system: str) -> list[Message]:
    """Return a conversation as a backend takes it, beginning with the system prompt if there is one."""
    told = [turn for turn in history if turn["role"] in ("user", "assistant")]
    said = [Message(role=turn["role"], content=text_of(turn["content"])) for turn in told]
    return [Message(role="system", content=system), *said] if system.strip() else said


def text_of(content: object) -> str:
    """Return the text of a message, which Gradio gives as a text or as a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "\n".join(str(part.get("text") or "") if isinstance(part, dict) else str(part) for part in parts)


def _with(history: History, text: str) -> History:
    return [*history, {"role": "assistant", "content": text}]


def _place(index: int | Sequence[int]) -> int:
    return index if isinstance(index, int) else index[0]
