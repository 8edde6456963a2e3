"""An OpenAI-compatible server: vLLM, llama-server of llama.cpp, Inference Endpoints and Providers of the Hub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

import httpx

from backends import Failed, Message, Options
from family import Model


class Endpoint:
    """A server that knows the models by their ids on the Hub. Which commit it serves is set where it is started."""

    def __init__(self, url: str, key: str | None = None, *, slots: int = 16, silence: float = 300) -> None:
        """Set where it is, up to and with `/v1`.

        Args:
            silence: seconds until a server that says nothing is given up.
        """
        self.slots = slots
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/", headers=headers, timeout=httpx.Timeout(30, read=silence)
        )

    @classmethod
    def from_environment(cls) -> Endpoint:
        """Return the one that HALA_ENDPOINT names; its key is in the secret HALA_ENDPOINT_KEY.

        Raises:
            Failed: none is named.
        """
        url = os.environ.get("HALA_ENDPOINT")
        if not url:
            raise Failed("HALA_ENDPOINT is not set; it is the address of the server, for example http://host:8000/v1")
        slots = int(os.environ.get("HALA_SLOTS", "16"))
        return cls(url, os.environ.get("HALA_ENDPOINT_KEY"), slots=slots)

    def stream(self, model: Model, messages: Sequence[Message], options: Options) -> Iterator[str]:
        """Yield an answer. Closing the iterator closes the connection, on which such servers stop."""
        body = {
            "model": model.id,
            "messages": list(messages),
            "temperature": options.temperature,
            "max_tokens": options.tokens,
            "stream": True,
        }
        try:
            with self._client.stream("POST", "chat/completions", json=body) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise Failed(f"the server answered {answer.status_code}")  # its words may be those of people
                for line in answer.iter_lines():
                    data = line.removeprefix("data:").strip()
                    if data == "[DONE]":
                        return
                    yield _content(data) if line.startswith("data:") else ""  # also nothing, so that it can be closed
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Failed(f"{type(error).__name__}: {error}") from error


def _content(data: str) -> str:
    event = json.loads(data)
    if "error" in event:
        raise Failed(f"the server broke off: {event['error']}")
    return "".join(choice.get("delta", {}).get("content") or "" for choice in event["choices"])
