"""Programs ask the Space: streams, limits, languages, many at once, and nothing kept."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from hala_release.hub import Hub
from tests.space.conftest import PINS, App, Published, Serve

WORDS = "واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية"


def client(app: App) -> Client:
    """Return the unmodified client."""
    return Client(app.url, verbose=False, analytics_enabled=False)


def post(app: App, path: str, body: object) -> tuple[int, bytes]:
    """Send JSON as curl does."""
    connection = http.client.HTTPConnection(app.url.removeprefix("http://"), timeout=30)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def memory(app: App) -> int:
    """Return the memory of an app in kB."""
    said = Path(f"/proc/{app.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", said)
    assert found
    return int(found[1])


def test_chat_streams_an_answer_that_grows(echo: App) -> None:
    steps = list(client(echo).submit(WORDS, api_name="/chat"))
    assert len(steps) > 3
    assert all(later.startswith(former) for former, later in pairwise(steps))
    assert steps[-1].split() == WORDS.split()


def test_translation_streams_and_keeps_code_addresses_and_form(echo: App) -> None:
    text = "# Title\n\n- one `x = 1` at https://example.org/a?b=c.\n\n```\ncode stays\n```\n\nLast line.\n"
    steps = list(client(echo).submit(text, into="ar", api_name="/translate"))
    assert len(steps) > 3
    assert steps[-1] == text


def test_a_real_model_streams_from_both_endpoints(published: Published) -> None:
    url = Hub(published.hub.url, published.hub.token).runtime("acme/chat").url
    assert url
    asked = Client(url, verbose=False, analytics_enabled=False)
    answer = list(asked.submit("What is the capital of France?", api_name="/chat", max_tokens=24))
    assert len(answer) > 2
    assert "Paris" in answer[-1]
    assert len(list(asked.submit("Good morning. How are you?", api_name="/translate"))) > 1


def test_curl_is_answered_too(echo: App) -> None:
    status, body = post(echo, "/gradio_api/call/v2/translate", {"text": "Good morning.", "into": "ar"})
    assert status == http.client.OK, body
    event = json.loads(body)["event_id"]
    connection = http.client.HTTPConnection(echo.url.removeprefix("http://"), timeout=30)
    connection.request("GET", f"/gradio_api/call/translate/{event}")
    said = connection.getresponse().read().decode()
    connection.close()
    assert "event: complete" in said
    assert "Good morning." in said


def test_both_endpoints_are_documented(echo: App) -> None:
    named = client(echo).view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {"/chat", "/translate", "/about"} == set(named)
    for name, parameters in (("/chat", ["message", "history", "model"]), ("/translate", ["text", "into"])):
        assert [one["parameter_name"] for one in named[name]["parameters"]][: len(parameters)] == parameters
        assert named[name]["description"]
        assert named[name]["returns"][0]["type"] == {"type": "string"}


def test_the_app_says_which_release_it_shows(echo: App) -> None:
    about = client(echo).predict(api_name="/about")
    assert about["version"] == "1.0.0"
    assert about["models"] == PINS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"message": "x" * 8001}, "أطول من المسموح.*8,000.*too long.*8,000"),
        ({"message": "  "}, "اكتب شيئًا أولًا.*Write something first"),
        ({"message": "x", "model": "acme/other"}, "لا يوجد هنا نموذج.*acme/other.*no such model.*acme/other"),
        ({"message": "x", "system": "y" * 2001}, "2,000"),
        ({"message": "x", "history": [{"role": "system", "content": "y"}]}, "سجلّ المحادثة.*history"),
    ],
)
def test_what_cannot_be_asked_is_said_in_both_languages(echo: App, given: dict[str, object], said: str) -> None:
    with pytest.raises(AppError, match=said):
        client(echo).predict(**given, api_name="/chat")


def test_only_translation_is_a_tool_and_only_on_request(serve: Serve, echo: App) -> None:
    connection = http.client.HTTPConnection(echo.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/gradio_api/mcp/schema")
    assert connection.getresponse().status == http.client.NOT_FOUND
    connection.close()
    with serve(HALA_MCP="1") as app:
        connection = http.client.HTTPConnection(app.url.removeprefix("http://"), timeout=30)
        connection.request("GET", "/gradio_api/mcp/schema")
        tools = json.loads(connection.getresponse().read())
        connection.close()
    (tool,) = tools
    assert tool["name"].endswith("translate")
    assert "text" in tool["inputSchema"]["properties"]


def test_twenty_people_at_once_are_all_answered_in_turn(serve: Serve) -> None:
    ended: list[tuple[float, int]] = []
    lock = threading.Lock()

    def person(number: int) -> str:
        answer = client(app).predict(f"{number} {WORDS}", api_name="/chat")
        with lock:
            ended.append((time.monotonic(), number))
        return str(answer)

    with serve(HALA_ECHO_DELAY="0.05") as app, ThreadPoolExecutor(20) as people:
        answers = list(people.map(person, range(20)))
    assert [answer.split()[0] for answer in answers] == [str(number) for number in range(20)]
    moments = sorted(moment for moment, _ in ended)
    assert moments[-1] - moments[0] > 1, "four at a time: five rounds, not all at the end"
    assert "Traceback" not in app.said()


def test_one_person_cannot_take_every_place(serve: Serve) -> None:
    with serve(HALA_ECHO_DELAY="0.2") as app:
        greedy = client(app)
        jobs = [greedy.submit(WORDS, api_name="/chat") for _ in range(6)]
        time.sleep(0.3)
        assert client(app).predict("hello", api_name="/chat") == "hello"
        refused = 0
        for job in jobs:
            try:
                job.result(timeout=30)
            except AppError as error:
                assert "ما زلنا نجيب" in str(error)
                refused += 1
        assert refused == 4


def test_whoever_leaves_stops_the_work(serve: Serve) -> None:
    with serve(HALA_ECHO_DELAY="0.2") as app:
        job = client(app).submit("word " * 400, api_name="/chat")
        deadline = time.monotonic() + 10
        while not job.outputs() and time.monotonic() < deadline:
            time.sleep(0.05)
        job.cancel()
        deadline = time.monotonic() + 10
        while "closed" not in app.said() and time.monotonic() < deadline:
            time.sleep(0.1)
        found = re.search(r"acme/small: (\d+) pieces in ([\d.]+) s, closed", app.said())
        assert found, app.said()
        assert int(found[1]) < 60


def test_an_answer_that_takes_too_long_is_cut_off_and_the_place_is_free(serve: Serve) -> None:
    with serve(HALA_ECHO_DELAY="0.1", HALA_SECONDS="1") as app:
        answer = client(app).predict("word " * 100, api_name="/chat")
        assert 3 < len(answer.split()) < 40
        assert client(app).predict("hello", api_name="/chat") == "hello"


def test_a_model_that_says_nothing_is_given_up(serve: Serve) -> None:
    with (
        serve(HALA_ECHO_DELAY="30", HALA_PATIENCE="0.2") as app,
        pytest.raises(AppError, match="did not answer in time"),
    ):
        client(app).predict("hello", api_name="/chat")


def test_memory_is_stable_over_five_hundred_turns_and_nothing_is_kept(serve: Serve) -> None:
    secret = "سرّ-لا-يُحفظ-8231"
    with serve(HALA_ECHO_DELAY="0") as app:
        asked = client(app)

        def turns(count: int) -> None:
            for number in range(count):
                history = [{"role": "user", "content": WORDS}, {"role": "assistant", "content": WORDS}] * (number % 5)
                asked.predict(f"{secret} {number} " + "نص " * 200, history=history, api_name="/chat")

        turns(100)
        early = memory(app)
        turns(400)
        late = memory(app)
        assert late < early * 1.1, (early, late)
        assert secret not in app.said()
        kept = [path for path in app.log.parent.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert not kept
