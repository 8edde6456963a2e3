"""Files of a model around its weights, for the stages that change the weights: what is taken over, what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hala_release.bundle import Bundle
from hala_release.errors import CheckFailed, PayloadInvalid
from hala_release.manifest import ModelFacts
from pipeline import storage
from pipeline.demo import corpus
from pipeline.prompts import Message, translation
from pipeline.stage import REPORTS

CONFIG = "config.json"
GENERATION = "generation_config.json"
OWN = (CONFIG, "README.md", "recipe.yaml", "mergekit_config.yml")
"""What describes the weights as they were."""
WEIGHTS = (".safetensors", ".safetensors.index.json")


def facts_of(bundle: Bundle) -> ModelFacts:
    """Return what a bundle says of its model.

    Raises:
        PayloadInvalid: it holds something else.
    """
    facts = bundle.manifest.facts
    if not isinstance(facts, ModelFacts):
        raise PayloadInvalid(f"{bundle.root} is a {facts.kind}", fix="give a bundle with a model")
    return facts


def carry(bundle: Bundle, files: Path) -> None:
    """Copy what lies beside the weights: tokenizer, chat template, generation settings, notices, licences.

    Left out are the weights, what describes them, and reports, which the stage takes over by itself.
    """
    for entry in bundle.manifest.files:
        if entry.path not in OWN and not entry.path.endswith(WEIGHTS) and not entry.path.startswith(f"{REPORTS}/"):
            storage.copy(str(bundle.files / entry.path), str(files / entry.path))


def clear(files: Path) -> None:
    """Remove what a run that was cut off left, but not the reports of earlier stages."""
    for path in files.iterdir():
        if path.name != REPORTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def move_weights(source: Path, files: Path) -> None:
    """Move weights and their index to where they are published."""
    for path in sorted(source.iterdir()):
        if path.name.endswith(WEIGHTS):
            path.replace(files / path.name)


def config_of(folder: Path) -> dict[str, Any]:
    """Return config.json, less the directory that it may have been loaded from."""
    document: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
    document.pop("_name_or_path", None)
    return document


def write_config(files: Path, document: dict[str, Any]) -> None:
    """Write config.json: the same document gives the same bytes."""
    with storage.writing(str(files / CONFIG)) as file:
        file.write(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def paths_of(files: Path) -> list[str]:
    """Return the path of every file, as in the repository."""
    return sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())


def weight_bytes(files: Path) -> int:
    """Return how large the weights are, in bytes on the disk."""
    return sum(path.stat().st_size for path in files.rglob("*.safetensors"))


def tell_no_place(files: Path, places: Iterable[Path]) -> None:
    """Return when no file beside the weights names a directory of this machine.

    Args:
        places: where the inputs and the result lie.

    Raises:
        CheckFailed: one does.
    """
    needles = {str(place.absolute()).encode() for place in places}
    for path in paths_of(files):
        if not path.endswith(".safetensors"):
            data = (files / path).read_bytes()
            if any(needle in data for needle in needles):
                raise CheckFailed(
                    f"{path} names a directory of this machine",
                    fix="remove the path from the input, and adopt it again",
                )


def sample_chats(count: int) -> list[list[Message]]:
    """Return chats of the demo corpus in which HALA's translator is asked, and answers: always the same."""
    return [
        [*translation("translator", pair["en"]), Message(role="assistant", content=pair["ar"])]
        for pair in corpus.sample(count)
    ]
