"""A corpus of the size of Alpaca in one sitting, and what its second version moves under Xet."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hala_release.localhub import daemon
from tests import factories
from tests.factories import hala_release
from tests.publish import families

ROWS = 50_000
"""As Alpaca has. A second version moves whole pages, so its share grows as a corpus shrinks: 17% at 20,000 rows."""

LARGEST_SHARE = 0.15
"""Of the corpus, what may be sent for 1% of new rows and 1% of changed ones."""

REAL = Path(__file__).parents[3] / "shared" / "data" / "en_instructions" / "alpaca_50k.jsonl.gz"

READ = """
import json, sys
from datasets import load_dataset
loaded = load_dataset(sys.argv[1], revision=sys.argv[2], split="train")
with open(sys.argv[3], encoding="utf-8") as lines:
    expected = [json.loads(line) for line in lines]
assert loaded.to_list() == expected
print(len(expected))
"""


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[daemon.Running]:
    """A Hub of the test's own, so that what it received came from here."""
    yield daemon.start(tmp_path / "hub")
    daemon.stop(tmp_path / "hub")


def instructions(count: int) -> list[dict[str, Any]]:
    """Return rows of instruction, input and output, as long as Alpaca's and as compressible as text."""
    chance = random.Random(2023)
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(6_000)]
    common = [1 / rank for rank in range(1, len(vocabulary) + 1)]

    def text(shortest: int, longest: int) -> str:
        words = chance.choices(vocabulary, common, k=chance.randint(shortest, longest))
        return " ".join(words).capitalize() + "."

    return [
        {
            "id": f"row-{number}",
            "instruction": text(5, 18),
            "input": text(4, 20) if chance.random() < 0.4 else "",
            "output": text(5, 90),
        }
        for number in range(count)
    ]


def later(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a second version: 1% of the rows, in one place, have other answers, and 1% are new at the end."""
    share = len(rows) // 100
    start = len(rows) // 3
    changed = [{**row, "output": " ".join(reversed(row["output"].split()))} for row in rows[start : start + share]]
    stem, _, last = rows[-1]["id"].rpartition("-")
    new = [
        {**row, "id": f"{stem}-{int(last) + 1 + number}", "output": f"{row['output']} {row['instruction']}"}
        for number, row in enumerate(random.Random(7).sample(rows, share))
    ]
    return [*rows[:start], *changed, *rows[start + share :], *new]


class Sitting:
    """Somebody at a terminal, with a directory, a Hub and a home of his own."""

    def __init__(self, folder: Path, hub: daemon.Running) -> None:
        self.folder, self.hub = folder, hub
        self.environment = {"HF_HOME": str(folder / "home"), "HF_TOKEN": hub.token}
        self.release = factories.write_release(
            folder / "release.yaml",
            artifacts=[{"kind": "dataset", "repo": "corpus", "bundle": "corpus", "summary": "Instructions."}],
        )
        self.repo = f"{families.namespace(self.release)}/corpus"

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command, and return its document."""
        done = hala_release(*arguments, "--json", cwd=self.folder, **self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def publish(self, rows: list[dict[str, Any]], version: str) -> dict[str, Any]:
        """Take rows from JSON lines to the Hub, and return what the push said."""
        factories.write_rows(self.folder / "raw" / "train.jsonl", rows)
        if (self.folder / "corpus").exists():
            families.forget(self.folder / "corpus")
        families.edited(self.release, version=version)
        self.run("adopt", "raw", "--kind", "dataset", "--out", "corpus")
        there = ("release.yaml", "--hub", self.hub.url)
        assert self.run("check", "release.yaml") == {"findings": []}
        (plan,) = self.run("plan", *there)["repos"]
        assert (plan["tag"], plan["needs_tag"]) == (f"v{version}", True)
        pushed = self.run("push", *there, "--yes")
        assert self.run("verify", *there)["tag"] == f"v{version}"
        return pushed

    @property
    def size(self) -> int:
        """Bytes of the bundle's files."""
        return sum(len(data) for data in families.files(self.folder / "corpus").values())

    def loads(self, rows: list[dict[str, Any]], version: str) -> None:
        """Assert that a stranger gets these rows."""
        expected = factories.write_rows(self.folder / "expected.jsonl", rows)
        said = families.python(
            READ, self.repo, f"v{version}", str(expected), hub=self.hub, home=self.folder / "stranger"
        )
        assert int(said) == len(rows)


def two_versions(tmp_path: Path, hub: daemon.Running, rows: list[dict[str, Any]]) -> float:
    """Publish rows and a second version of them, and return the share of the corpus that the second moved."""
    sitting = Sitting(tmp_path, hub)
    first = sitting.publish(rows, "1.0.0")
    assert first["sent_bytes"] > 0.8 * sitting.size
    second = sitting.publish(later(rows), "1.1.0")
    assert families.commits(families.owner(hub), "dataset", sitting.repo) == [
        "initial commit",
        "Release family 1.0.0",
        "Release family 1.1.0",
    ]
    stats = families.ask_local(hub, "stats")
    assert stats["blob_bytes"] == 0
    assert first["sent_bytes"] + second["sent_bytes"] == stats["received_bytes"]
    sitting.loads(rows, "1.0.0")
    sitting.loads(later(rows), "1.1.0")
    share: float = second["sent_bytes"] / sitting.size
    return share


def test_a_second_version_of_fifty_thousand_rows_moves_little_under_xet(tmp_path: Path, alone: daemon.Running) -> None:
    assert two_versions(tmp_path, alone, instructions(ROWS)) < LARGEST_SHARE


@pytest.mark.skipif(not REAL.exists(), reason="the Alpaca file, which may not enter the project, is not beside it")
def test_alpaca_itself_in_one_sitting(tmp_path: Path, alone: daemon.Running) -> None:
    with gzip.open(REAL, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 50_002
    assert two_versions(tmp_path, alone, rows) < LARGEST_SHARE
