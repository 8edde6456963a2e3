"""What programs may ask, by gradio_client, by curl and, where it is switched on, over MCP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import gradio as gr

from answer import Answers, Ended, Text
from backends import Message, Options
from family import Family
from limits import MESSAGE, SYSTEM, Refused, checked, short
from tabs import caller
from translation import translate as translated
from words import both


def offer(family: Family, answers: Answers, *, as_tools: bool) -> None:
    """Add the endpoints to the app that is being built.

    Args:
        as_tools: whether the app speaks MCP; then only translation is offered as a tool.
    """

    async def chat(
        message: str,
        request: gr.Request,
        history: list[dict[str, str]] | None = None,
        model: str = "",
        system: str = "",
        temperature: float = 0.0,
        max_tokens: int = 512,
    ) -> AsyncGenerator[str]:
        """Answer a message; streams the answer, each time from its beginning.

        Args:
            message: what is asked, at most 8,000 characters.
            history: messages before it, as {"role": "user" or "assistant", "content": text}.
            model: the id of a model of this Space; empty for its first one.
            system: a system prompt.
            temperature: 0 takes the likeliest token each time.
            max_tokens: the longest answer, at most 1,024.
        """
        try:
            one = family.model(model)
            asked = [*_turns(history or []), Message(role="user", content=checked(message, MESSAGE))]
            if short(system, SYSTEM).strip():
                asked = [Message(role="system", content=system), *asked]
            options = Options.asked(temperature, max_tokens)
            async with aclosing(answers.stream(caller(request), one, asked, options)) as events:
                async for event in events:
                    if isinstance(event, Text | Ended):
                        yield event.text
        except Refused as refused:
            raise gr.Error(both(refused), print_exception=False) from refused

    async def translate(
        text: str, request: gr.Request, into: Literal["auto", "ar", "en"] = "auto"
    ) -> AsyncGenerator[str]:
        """Translate a text between English and Arabic; code, addresses, tags and the form of the text stay.

        Args:
            text: at most 40,000 characters.
            into: the language to translate into; auto takes Arabic for an English text and English for an Arabic one.
        """
        try:
            way = into if into in ("ar", "en") else None
            async with aclosing(translated(answers, family, caller(request), text, way)) as steps:
                async for step in steps:
                    if not step.place:
                        yield step.text
        except Refused as refused:
            raise gr.Error(both(refused), print_exception=False) from refused

    def about() -> dict[str, Any]:
        """Tell which release this is, and the commit of every model in it."""
        return {"title": family.title, "version": family.version, "models": family.pins}

    for endpoint in (chat, translate):  # Gradio reads from it what each step of a stream is
        endpoint.__annotations__["return"] = str
    if family.chat:
        gr.api(chat, api_name="chat", concurrency_limit=None, api_visibility="undocumented" if as_tools else "public")
    if family.translate:
        gr.api(translate, api_name="translate", concurrency_limit=None)
    gr.api(about, api_name="about", queue=False, api_visibility="undocumented" if as_tools else "public")


def _turns(history: list[dict[str, str]]) -> list[Message]:
    found = []
    for turn in history:
        role, content = turn.get("role"), turn.get("content")
        if role not in ("user", "assistant") or not isinstance(content, str) or len(content) > MESSAGE:
            raise Refused("history")
        found.append(Message(role=role, content=content))
    return found
