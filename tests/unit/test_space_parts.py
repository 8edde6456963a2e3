"""What the Space is made of, without its page: cutting texts, waiting in line, prompts, other backends."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SPACE = Path(__file__).parents[2] / "spaces" / "hala"
NAMES = ("limits", "family", "line", "text", "backends", "backends.endpoint", "backends.echo", "answer", "translation")


@pytest.fixture(scope="module")
def space() -> Iterator[SimpleNamespace]:
    """The modules of the Space, as they find each other in its folder."""
    sys.path.insert(0, str(SPACE))
    try:
        yield SimpleNamespace(**{name.replace(".", "_"): importlib.import_module(name) for name in NAMES})
    finally:
        sys.path.remove(str(SPACE))
        for name in NAMES:
            del sys.modules[name]


LINES = st.sampled_from(
    [
        *(
            "",
            "# Title",
            "- item one.",
            "```python",
            "```",
            "x = `code` here.",
            "Hello there. " * 80,
            "مرحبا بكم. " * 90,
        ),
        *("see https://example.org/a?b=c, and me@example.org.", "   ", "1. first", "> quoted", "~~~", "12 + 3", "⟦0⟧"),
    ]
)
TEXTS = st.one_of(st.text(max_size=2000), st.lists(LINES).map("\n".join))


@given(text=TEXTS)
def test_pieces_are_the_text_and_none_is_too_long(space: SimpleNamespace, text: str) -> None:
    found = space.text.pieces(text)
    assert "".join(piece.text for piece in found) == text
    assert all(len(piece.text) <= space.text.LONGEST for piece in found if not piece.is_kept)


@given(text=TEXTS)
def test_what_is_masked_comes_back(space: SimpleNamespace, text: str) -> None:
    masked, kept = space.text.masked(text)
    if "⟦" not in text:
        assert space.text.is_whole(masked, kept)
        assert space.text.unmasked(masked, kept) == text
    assert "".join(piece.text for piece in space.text.between(text)) == text


def test_code_addresses_lists_and_blank_lines_stay(space: SimpleNamespace) -> None:
    text = "# Title\n\n- Read https://example.org/a.\n```\nx = 1\n```\n42\n"
    moved = [piece.text for piece in space.text.pieces(text) if not piece.is_kept]
    assert moved == ["Title", "Read https://example.org/a."]
    assert space.text.masked(moved[1]) == ("Read ⟦0⟧.", ["https://example.org/a"])


@pytest.mark.parametrize(
    ("text", "into"),
    [("Good morning", "ar"), ("صباح الخير", "en"), ("صباح الخير NLP", "en"), ("123", "ar"), ("The word كتاب", "ar")],
)
def test_the_direction_is_guessed_from_the_letters(space: SimpleNamespace, text: str, into: str) -> None:
    assert space.text.target(text) == into


def test_a_second_question_waits_for_the_first_ones_of_others(space: SimpleNamespace) -> None:
    async def run() -> list[str]:
        line, person = space.line.Line(1), space.line.Person
        called = []
        greedy = [line.enter(person("greedy")), line.enter(person("greedy"))]
        modest = line.enter(person("modest"))
        with pytest.raises(space.limits.Refused, match="each"):
            line.enter(person("greedy"))
        assert [place async for place in _first(line.wait(modest))] == [2]
        for _ in range(3):
            for name, ticket in (("first", greedy[0]), ("second", greedy[1]), ("modest", modest)):
                if ticket.called.is_set() and name not in called:
                    called.append(name)
                    line.leave(ticket)
        return called

    # One turn at a time: when the first is given back, both others have none, and the earlier one is next.
    assert asyncio.run(run()) == ["first", "second", "modest"]


def test_with_two_turns_nobody_has_both_while_another_waits(space: SimpleNamespace) -> None:
    async def run() -> tuple[bool, bool]:
        line, person = space.line.Line(2), space.line.Person
        one, other = line.enter(person("a")), line.enter(person("b"))
        again, third = line.enter(person("a")), line.enter(person("c"))
        line.leave(other)
        assert one.called.is_set()
        return again.called.is_set(), third.called.is_set()

    assert asyncio.run(run()) == (False, True)


def test_a_full_line_refuses(space: SimpleNamespace) -> None:
    async def run() -> None:
        line, person = space.line.Line(1), space.line.Person
        for number in range(space.limits.WAITING + 1):
            line.enter(person(str(number)))
        with pytest.raises(space.limits.Refused, match="full"):
            line.enter(person("late"))

    asyncio.run(run())


async def _first(places: Any) -> Any:  # noqa: ANN401
    async for place in places:
        yield place
        return


def test_only_the_latest_of_a_long_conversation_is_shown_to_a_model(space: SimpleNamespace) -> None:
    turn = {"role": "user", "content": "x" * 5000}, {"role": "assistant", "content": "y" * 5000}
    said = [{"role": "system", "content": "s"}, *turn * 5, {"role": "user", "content": "last"}]
    shown = space.answer.recent(said, space.limits.HISTORY)
    assert shown[0]["role"] == "system"
    assert shown[1]["role"] == "user"
    assert shown[-1]["content"] == "last"
    assert sum(len(one["content"]) for one in shown[1:]) <= space.limits.HISTORY


def test_empty_messages_take_room_too(space: SimpleNamespace) -> None:
    shown = space.answer.recent([{"role": "user", "content": ""}] * 100_000, space.limits.HISTORY)
    assert len(shown) <= space.limits.HISTORY / space.answer.FRAME


def test_a_small_context_takes_a_short_conversation_and_a_short_answer(space: SimpleNamespace) -> None:
    model = space.family.Model("acme/a", "a" * 40, "A", context=1000)
    turns = [{"role": "user", "content": "x" * 300}, {"role": "assistant", "content": "y" * 300}] * 9
    shown, options = space.answer.fitting(model, turns + turns[:1], space.backends.Options(tokens=900))
    assert options.tokens == 500
    assert 300 < sum(len(one["content"]) for one in shown) <= 1000


def test_one_address_takes_no_more_places_however_many_sessions_it_opens(space: SimpleNamespace) -> None:
    async def run() -> None:
        line, person = space.line.Line(2), space.line.Person
        for number in range(space.limits.TOGETHER):
            line.enter(person(str(number), "192.0.2.1"))
        with pytest.raises(space.limits.Refused, match="each"):
            line.enter(person("another", "192.0.2.1"))
        line.enter(person("somebody", "192.0.2.2"))

    asyncio.run(run())


def test_a_text_without_an_end_is_cut_in_a_moment(space: SimpleNamespace) -> None:
    for text in ("a" * 40_000, "<a" * 20_000, "a." * 20_000, "a@" * 20_000, "`" * 40_000, "⟦" * 40_000):
        began = time.process_time()
        for piece in space.text.pieces(text):
            masked, kept = space.text.masked(piece.text)
            space.text.unmasked(masked, kept)
        assert time.process_time() - began < 2  # quadratic ones took 5 s and more


class _Scripted:
    """A backend that loses the marks of code, as small models do."""

    slots = 1

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stream(self, _model: object, messages: list[dict[str, str]], _options: object) -> Iterator[str]:
        self.asked.append(messages[-1]["content"])
        yield messages[-1]["content"].replace("⟦0⟧", "").upper()


def test_code_stays_also_where_a_model_loses_its_mark(space: SimpleNamespace) -> None:
    async def run() -> str:
        backend = _Scripted()
        model = space.family.Model("acme/a", "a" * 40, "A")
        translator = space.family.Translator(model, "{text}")
        family = SimpleNamespace(translate={"ar": translator})
        last = ""
        async for step in space.translation.translate(
            space.answer.Answers(backend), family, space.line.Person("me"), "run `make` now.\n", "ar"
        ):
            last = step.text
        assert backend.asked == ["run ⟦0⟧ now.", "run", "now."]
        return last

    assert asyncio.run(run()) == "RUN `make` NOW.\n"


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OpenAI-compatible server that streams three words, or refuses a model."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            self.send_response(404 if body["model"] == "acme/none" else 200)
            self.end_headers()
            for word in ("one ", "two ", "three"):
                event = {"choices": [{"delta": {"content": word}}]}
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_openai_compatible_server_answers(space: SimpleNamespace, server: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = server
    backend = space.backends_endpoint.Endpoint(url, "key")
    messages = [{"role": "user", "content": "count"}]
    options = space.backends.Options(temperature=0.5, tokens=7)
    model = space.family.Model("acme/a", "a" * 40, "A")
    assert [piece for piece in backend.stream(model, messages, options) if piece] == ["one ", "two ", "three"]
    (sent,) = asked
    assert (sent["path"], sent["key"]) == ("/v1/chat/completions", "Bearer key")
    assert (sent["model"], sent["messages"], sent["max_tokens"]) == ("acme/a", messages, 7)
    with pytest.raises(space.backends.Failed, match="404"):
        list(backend.stream(space.family.Model("acme/none", "a" * 40, "A"), messages, options))
    backend._client.close()


def test_both_languages_say_the_same_things() -> None:
    english, arabic = (
        json.loads((SPACE / "words" / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "ar")
    )
    assert english.keys() == arabic.keys()
    said = "\n".join(path.read_text(encoding="utf-8") for path in SPACE.rglob("*.py"))
    for key in english:
        assert f'"{key}"' in said or key in ("to_ar", "to_en", "guessed_ar", "guessed_en", "base", "tuned"), key
