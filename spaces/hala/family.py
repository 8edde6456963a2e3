"""What this Space shows: the models of one release, each pinned by its commit. hala-release writes family.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limits import Refused

Language = Literal["ar", "en"]
LANGUAGES: tuple[Language, ...] = ("ar", "en")
SCHEMA = 1


class NoFamily(Exception):
    """family.json is missing, or is not one that this app reads."""


@dataclass(frozen=True)
class Model:
    """A model of the Hub at one commit."""

    id: str
    revision: str
    """The commit, 40 hexadecimal digits."""
    title: str
    context: int | None = None
    """Tokens that it can attend to, as its config says."""
    bytes: int = 0
    """What its weights take on the Hub."""


@dataclass(frozen=True)
class Translator:
    """A model that translates into one language, and how it is asked."""

    model: Model
    prompt: str
    """What is said to it; `{text}` stands for the text."""


@dataclass(frozen=True)
class Chart:
    """Scores as a picture: once for a light page, once for a dark one."""

    light: str
    dark: str
    alt: Mapping[Language, str]


@dataclass(frozen=True)
class Family:
    """The models of one release and what each is for."""

    title: str
    version: str
    chat: tuple[Model, ...]
    """The first one is chosen at the start."""
    bases: Mapping[str, Model]
    """What a chat model was made from, by the id of the chat model."""
    translate: Mapping[Language, Translator]
    """By the language that is translated into."""
    examples: Mapping[Language, tuple[str, ...]]
    about: Mapping[Language, str]
    """Markdown."""
    charts: tuple[Chart, ...]

    def model(self, name: str) -> Model:
        """Return a model to chat with; the first one for an empty name.

        Raises:
            Refused: there is no such model here.
        """
        for one in self.chat:
            if name in ("", one.id):
                return one
        raise Refused("unknown", name[:100])

    @property
    def pins(self) -> dict[str, str]:
        """The commit of every model that is used, by its id."""
        models = [*self.chat, *self.bases.values(), *(one.model for one in self.translate.values())]
        return {model.id: model.revision for model in models}


def load(folder: Path) -> Family:
    """Read family.json and what it names.

    Raises:
        NoFamily: there is none, or it was written for another version of this app.
    """
    try:
        data = json.loads((folder / "family.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NoFamily("family.json is missing; `hala-release push` writes it") from error
    if data.get("schema") != SCHEMA:
        raise NoFamily(f"family.json has schema {data.get('schema')}, this app reads {SCHEMA}")
    models = {name: _model(name, values) for name, values in data["models"].items()}
    return Family(
        title=data["title"],
        version=data["version"],
        chat=tuple(models[name] for name in data["chat"]),
        bases={name: models[base] for name, base in data["bases"].items()},
        translate={
            into: Translator(models[values["model"]], values["prompt"]) for into, values in data["translate"].items()
        },
        examples={language: tuple(data["examples"][language]) for language in LANGUAGES},
        about={language: (folder / data["about"][language]).read_text(encoding="utf-8") for language in LANGUAGES},
        charts=tuple(Chart(**values) for values in data["charts"]),
    )


def _model(name: str, values: Mapping[str, Any]) -> Model:
    return Model(name, values["revision"], values["title"], values["context"], values["bytes"])
