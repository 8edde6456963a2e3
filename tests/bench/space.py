"""Time to the first word: of the Space, beside that of its backend alone in the same Python.

    HALA_SERVE=.venv-serve .venv/bin/python -m tests.bench.space

The backend is the echo, which takes 300 ms for a word, then SmolLM2-135M on this CPU. The Space is asked as its page
asks it, over events that the server sends: gradio_client looks for news every 50 ms, which would be measured with it.
"""

from __future__ import annotations

import http.client
import json
import secrets
import statistics
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from hala_release.hub import Hub

ROUNDS = 20
PAUSE = 0.5
"""Seconds between two questions: threads of torch wait busily for a while, which the other process would feel."""
ALONE = """
import sys, time
sys.path.insert(0, ".")
from backends import Options, chosen
from family import load
family = load(__import__("pathlib").Path("."))
backend, model = chosen(family), family.chat[0]
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    pieces = backend.stream(model, [{"role": "user", "content": line.strip()}], Options(tokens=8))
    next(pieces)
    print(time.perf_counter() - began, flush=True)
    pieces.close()
"""


@pytest.mark.parametrize("backend", ["echo", "real"])
def test_first_word(backend: str, request: pytest.FixtureRequest) -> None:
    """Measure one backend; pytest runs it for the fixtures, which publish and serve."""
    python: Path = request.getfixturevalue("space_python")
    if backend == "echo":
        variables = {"HALA_BACKEND": "echo", "HALA_ECHO_DELAY": "0.3"}
        with request.getfixturevalue("serve")(**variables) as app:
            _compare(backend, app.url, python, request.getfixturevalue("echo_family"), variables)
        return
    published = request.getfixturevalue("published")
    url = Hub(published.hub.url, published.hub.token).runtime("acme/chat").url
    assert url
    folder = next((published.hub.root / "spaces").glob("*/*/family.json")).parent
    _compare(backend, url, python, folder, {"HF_ENDPOINT": published.hub.url})


def _compare(backend: str, url: str, python: Path, folder: Path, variables: dict[str, str]) -> None:
    host = url.removeprefix("http://").rstrip("/")
    endpoint = _endpoint(host)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **variables}
    ours, theirs = [], []
    with subprocess.Popen(
        [python, "-c", ALONE], cwd=folder, env=environment, stdin=PIPE, stdout=PIPE, text=True
    ) as alone:
        assert alone.stdin
        assert alone.stdout
        while alone.stdout.readline().strip() != "ready":
            assert alone.poll() is None
        for number in range(ROUNDS):
            time.sleep(PAUSE)
            question = f"{number} What is the capital of France?"
            alone.stdin.write(question + "\n")
            alone.stdin.flush()
            theirs.append(float(alone.stdout.readline()))
            time.sleep(PAUSE)
            ours.append(_first_word(host, endpoint, question))
        alone.stdin.close()
    here, there = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    print(f"\n{backend}: {here:.0f} ms from the Space, {there:.0f} ms from its backend alone, {here - there:+.0f} ms")


def _endpoint(host: str) -> int:
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", "/config")
    config = json.loads(connection.getresponse().read())
    connection.close()
    return next(int(one["id"]) for one in config["dependencies"] if one["api_name"] == "chat")


def _first_word(host: str, endpoint: int, question: str) -> float:
    """Ask as the page does, and return the seconds until the first piece of the answer."""
    session, first = secrets.token_hex(5), 0.0
    body = {"data": [question, None, "", "", 0, 8], "fn_index": endpoint, "session_hash": session}
    began = time.perf_counter()
    for method, path, content in (
        ("POST", "/gradio_api/queue/join", json.dumps(body)),
        ("GET", f"/gradio_api/queue/data?session_hash={session}", None),
    ):
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        for line in connection.getresponse():
            if b"process_generating" in line and not first:
                first = time.perf_counter() - began
            if b"process_completed" in line:
                break
        connection.close()
    return first


if __name__ == "__main__":
    run = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "tests.space.conftest", __file__]
    sys.exit(subprocess.run(run, check=False).returncode)
