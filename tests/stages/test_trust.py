"""An engine is compared with transformers before it is trusted: how near it has to be, and what is kept of it.

The server here speaks as vLLM does, and transformers computes what it says, so that it is right or wrong as told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hala_release.errors import HalaError
from pipeline.demo import corpus, model
from pipeline.engines import parity, trust, vllm
from pipeline.engines.capped import attention
from pipeline.engines.endpoint import Endpoint
from pipeline.engines.trust import Trust
from pipeline.engines.vllm import Vllm
from pipeline.translate import TranslateConfig


@pytest.fixture(scope="module")
def lfm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model."""
    out = tmp_path_factory.mktemp("models") / "lfm2"
    model.write_model(out, [f"{pair['en']} {pair['ar']}" for _, pair in corpus.pairs()][:1000])
    return out


class Speaking(ThreadingHTTPServer):
    """Answers as vLLM does; its log-probabilities are off by `error`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
        self.error = 0.0
        self.asked = 0
        self.lock = Lock()

    def endpoint(self, digest: str = "that model") -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.server_port}/v1", "lfm2", digest)

    def tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, tokenize=False)
        return {"tokens": self.tokenizer(text, add_special_tokens=False)["input_ids"]}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, answer = body["prompt"], list[int]()
        end = self.tokenizer.eos_token_id
        while len(answer) < body["max_tokens"] and end not in answer:
            answer.append(int(self.logprobs([*prompt, *answer])[-1].argmax()))
        each = self.logprobs(prompt)
        known = [{str(token): {"logprob": float(each[at, token]) + self.error}} for at, token in enumerate(prompt[1:])]
        reason = "stop" if end in answer else "length"
        return {"choices": [{"token_ids": answer, "finish_reason": reason, "prompt_logprobs": [None, *known]}]}

    def logprobs(self, tokens: list[int]) -> Any:  # noqa: ANN401 -- a tensor
        with torch.inference_mode():
            return torch.log_softmax(self.model(torch.tensor([tokens])).logits[0], dim=-1)


class _Handler(BaseHTTPRequestHandler):
    server: Speaking

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.asked += 1
            answer = self.server.tokenize(body) if self.path == "/tokenize" else self.server.complete(body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def speaking(lfm2: Path) -> Iterator[Speaking]:
    with Speaking(lfm2) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(speaking: Speaking) -> Speaking:
    """The same, right again."""
    speaking.error, speaking.asked = 0.0, 0
    return speaking


@pytest.fixture
def ask(server: Speaking, lfm2: Path, tmp_path: Path) -> Callable[..., parity.Parity]:
    """Ask for trust in the server; what is found is kept for this test."""

    def required(
        dtype: str = "float32",
        count: int = 3,
        digest: str = "that model",
        **given: Any,  # noqa: ANN401
    ) -> parity.Parity:
        told = Trust(records=tmp_path / "parity", **{"tokens": 4, **given})
        config = Vllm.model_validate({"model": str(lfm2), "dtype": dtype})
        return trust.require(told, config, parity.demo_chats(count), said.append, server.endpoint(digest))

    said: list[str] = []
    return required


def records(folder: Path) -> list[Path]:
    return sorted((folder / "parity").glob("*.json"))


def test_an_engine_that_computes_the_same_is_compared_once(
    server: Speaking, ask: Callable[..., parity.Parity], tmp_path: Path
) -> None:
    found = ask()
    assert found.holds
    assert (found.chats, found.equal + len(found.near_ties)) == (3, 3)
    (record,) = records(tmp_path)
    assert parity.Parity.model_validate_json(record.read_bytes()) == found
    assert server.asked == 6
    server.error = 9.0
    assert ask() == found
    assert server.asked == 6, "what was found is not asked for again"


def test_another_model_or_another_question_is_compared_again(
    server: Speaking, ask: Callable[..., parity.Parity], tmp_path: Path
) -> None:
    ask()
    ask(digest="another model")
    ask(count=2)
    ask(tokens=3)
    ask(tolerance=0.01)
    assert len(records(tmp_path)) == 5
    assert server.asked == 6 + 6 + 4 + 6 + 6


def test_an_engine_that_computes_something_else_is_refused_until_it_is_mended(
    server: Speaking, ask: Callable[..., parity.Parity], tmp_path: Path
) -> None:
    server.error = 0.01
    for _ in range(2):
        with pytest.raises(HalaError, match="lfm2 on vLLM does not compute what transformers does") as caught:
            ask()
        assert "differ by 0.01 at most, 0.01 on average; 0.001 and 0.001 are allowed" in str(caught.value)
        assert "float32" in caught.value.fix
    (record,) = records(tmp_path)
    assert not parity.Parity.model_validate_json(record.read_bytes()).holds
    server.error = 0.0
    assert ask().holds
    assert records(tmp_path) == [record]


def test_what_is_taken_for_rounding_depends_on_what_is_computed_in(lfm2: Path) -> None:
    def allowed(dtype: str, **given: Any) -> tuple[float, float]:  # noqa: ANN401
        return Trust(**given).allowed(Vllm.model_validate({"model": str(lfm2), "dtype": dtype}))

    assert allowed("float32") == (0.001, 0.001)
    assert allowed("float16") == (0.05, 0.05)
    assert allowed("bfloat16") == allowed("auto") == (0.3, 0.3)
    assert allowed("bfloat16", tolerance=0.02) == (0.02, 0.02)


def test_one_log_probability_of_a_compressed_model_may_be_off_and_their_average_may_not(
    lfm2: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lfm2-w8a8"
    folder.mkdir()
    config = json.loads((lfm2 / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "x"}}))
    server = Vllm(model=str(folder), dtype="float32")
    assert server.compressed
    assert Trust().allowed(server) == (2.0, 0.2)
    assert Trust(tolerance=0.5).allowed(server) == (0.5, 0.5)
    needs = TranslateConfig(server=server).needs()
    assert set(needs) == {"torch", "transformers", "compressed-tensors"}
    assert set(TranslateConfig(server=Vllm(model=str(lfm2))).needs()) == {"torch", "transformers"}


def test_how_an_engine_is_compared_is_part_of_the_question_and_where_that_is_kept_is_not(lfm2: Path) -> None:
    def compared(**given: Any) -> dict[str, Any] | None:  # noqa: ANN401
        server = Vllm(model=str(lfm2), dtype="float32")
        return TranslateConfig.model_validate({"server": server, **given}).compared()

    assert compared() == {"chats": 16, "tokens": 32, "tolerance": 0.001, "mean_tolerance": 0.001}
    assert compared(parity={"records": "elsewhere"}) == compared()
    assert compared(parity={"tolerance": 0.1}) != compared()
    assert compared(parity=None) is None
    assert TranslateConfig(server=Vllm(model=str(lfm2)), parity=None).needs() == ()


def test_a_bundle_is_called_by_its_directory_and_the_environment_is_part_of_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "manifest.json").touch()
    server = Vllm(model=str(tmp_path / "files"))
    assert server.name == tmp_path.name
    before = vllm.digest(server, "1")
    monkeypatch.setenv("VLLM_PLUGINS", "none")
    assert vllm.digest(server, "1") != before


def test_scores_that_are_capped_are_computed_with_their_cap(tmp_path: Path) -> None:
    for cap, chosen in ((50.0, "eager"), (None, "sdpa")):
        (tmp_path / "config.json").write_text(
            json.dumps({"model_type": "gemma2", "attn_logit_softcapping": cap}), encoding="utf-8"
        )
        assert attention(tmp_path) == chosen
