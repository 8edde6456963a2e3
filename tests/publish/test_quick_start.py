"""What a reader copies first: the Python of every published card runs as it is printed, in a process of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertConfig, BertModel

from hala_release.adopt import adopt
from hala_release.hub import Hub
from hala_release.localhub import daemon
from pipeline.demo import model as demo
from tests import factories
from tests.publish import families
from tests.publish.families import Kind, namespace, pushed

REPOS: dict[str, Kind] = {
    "one": "dataset",
    "two": "dataset",
    "chat": "model",
    "plain": "model",
    "encoder": "model",
}
QUESTION = 'قل: "مرحبًا"\\n, {{ twice }} and {% raw %}\nso.'
"""Something to ask that has to be escaped in Python, in a template and in Markdown."""


def texts() -> Iterator[str]:
    """Yield what the tokenizers are trained on."""
    for row in factories.conversations(200):
        for turn in row["conversations"]:
            yield turn["value"]


def write_datasets(raw: Path) -> None:
    """Write a dataset of one configuration with two splits, and one of two configurations."""
    for split, count in (("train", 20), ("test", 5)):
        factories.write_rows(raw / "one" / f"{split}.jsonl", factories.conversations(count))
    for config in ("default", "en"):
        factories.write_rows(raw / "two" / config / "train.jsonl", [{"text": f"{config} {n}"} for n in range(5)])


def write_models(raw: Path) -> None:
    """Write a language model with a chat template, one without, and an encoder, all small and with random weights."""
    for name in ("chat", "plain"):
        demo.write_model(raw / name, texts(), size=demo.Size(64, 64, ("conv", "full_attention")))
    (raw / "plain" / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(raw / "plain")
    tokenizer.save_pretrained(raw / "encoder")
    shape = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(shape).save_pretrained(raw / "encoder")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, embedded: daemon.Running) -> str:
    """The namespace of a published family with all of them."""
    folder = tmp_path_factory.mktemp("quick-start")
    write_datasets(folder / "raw")
    write_models(folder / "raw")
    artifacts = []
    for name, kind in REPOS.items():
        adopt(folder / "raw" / name, kind=kind, out=folder / name)
        artifacts.append({"kind": kind, "repo": name, "bundle": name, "summary": f"The {name}."})
        if name in {"chat", "plain"}:
            artifacts[-1]["example"] = QUESTION
    artifacts[-1]["pipeline_tag"] = "feature-extraction"
    release = factories.write_release(folder / "release.yaml", artifacts=artifacts)
    pushed(release, Hub(embedded.url, embedded.token))
    return namespace(release)


@pytest.mark.parametrize(
    ("repo", "look", "seen"),
    [
        ("one", "", "num_rows: 20"),
        ("two", "", "num_rows: 5"),
        ("chat", "print(outputs.shape[1] > inputs['input_ids'].shape[1])", "True"),
        ("plain", "print(outputs.shape[1] > inputs['input_ids'].shape[1])", "True"),
        ("encoder", "", "torch.Size([1, "),
    ],
    ids=REPOS,
)
def test_the_quick_start_of_a_published_card_runs_as_it_is_printed(
    published: str, embedded: daemon.Running, tmp_path: Path, repo: str, look: str, seen: str
) -> None:
    text = families.card(embedded, REPOS[repo], f"{published}/{repo}", "v1.0.0")
    printed = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[0]
    said = {node.value for node in ast.walk(ast.parse(printed)) if isinstance(node, ast.Constant)}
    assert {f"{published}/{repo}", "v1.0.0"} <= said
    assert (QUESTION in said) == (repo in {"chat", "plain"})
    assert seen in families.python(f"{printed}\n{look}\n", hub=embedded, home=tmp_path / "home")
