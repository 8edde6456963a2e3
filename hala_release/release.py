"""A release: the artifacts that go out together under one version, read from release.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from hala_release import located
from hala_release.errors import ConfigError
from hala_release.manifest import Kind, Record
from hala_release.version import Version, tag_of

SCHEMA_ID = "release.schema.json"

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_LICENSE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def under(root: Path, path: Path) -> Path:
    """Return where a path of release.yaml leads when that file lies in `root`."""
    return Path(os.path.normpath(root / path))


def _hub_name(text: str) -> str:
    if not _NAME.fullmatch(text) or "--" in text or ".." in text or text.endswith(".git"):
        raise ValueError(f"{text!r} is not a name that the Hub accepts: letters, digits and single `-`, `_` or `.`")
    return text


def _hub_repo(text: str) -> str:
    namespace, slash, name = text.rpartition("/")
    if slash:
        _hub_name(namespace)
    _hub_name(name)
    return text


def _hub_id(text: str) -> str:
    if text.count("/") != 1:
        raise ValueError(f"{text!r} is not a repository id like namespace/name")
    return _hub_repo(text)


def _license_id(text: str) -> str:
    if text == "other":
        raise ValueError("`other` says nothing by itself; write {id: other, name: …, link: …}")
    if not _LICENSE_ID.fullmatch(text):
        raise ValueError(f"{text!r} is not a license id of the Hub, which are lower case, like cc-by-nc-4.0")
    return text


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


AppLanguage = Literal["ar", "en"]
HubName = Annotated[str, AfterValidator(_hub_name)]
HubRepo = Annotated[str, AfterValidator(_hub_repo)]
HubId = Annotated[str, AfterValidator(_hub_id)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])]
HubIds = Annotated[
    tuple[HubId, ...], Field(min_length=1), BeforeValidator(_several, json_schema_input_type=HubId | list[HubId])
]
LicenseId = Annotated[str, AfterValidator(_license_id)]
LicenseIds = Annotated[
    tuple[LicenseId, ...],
    Field(min_length=1),
    BeforeValidator(_several, json_schema_input_type=LicenseId | list[LicenseId]),
]


class NamedLicense(Record):
    """A license that the Hub has no id for."""

    id: Literal["other"]
    name: Annotated[str, Field(min_length=1)]
    """Its short name, for example `lfm1.0`."""
    link: Annotated[str, Field(min_length=1)]
    """Its text: a URL, or a file of the repository."""


def _shape_of_license(value: object) -> str:
    return "<named>" if isinstance(value, dict | NamedLicense) else "<ids>"


License = Annotated[
    Annotated[LicenseIds, Tag("<ids>")] | Annotated[NamedLicense, Tag("<named>")], Discriminator(_shape_of_license)
]


class _Artifact(Record):
    repo: HubRepo
    """Repository name in the release's namespace, or namespace/name."""
    bundle: Path
    """The sealed directory, relative to release.yaml."""
    title: str | None = None
    """Heading of the card; the repository name where absent."""
    summary: str = ""
    """What this is, for the first paragraph of the card. Markdown."""
    summary_ar: str = ""
    """The same in Arabic; set right to left."""
    uses: str = ""
    """What it is for, and what it is not for. Markdown."""
    uses_ar: str = ""
    """The same in Arabic."""
    limits: str = ""
    """Where it fails and what is known to be wrong with it. Markdown."""
    limits_ar: str = ""
    """The same in Arabic."""
    license: License | None = None
    """Where it differs from the release's."""
    language: Texts = ()
    """ISO 639 codes; the release's where absent."""
    tags: Texts = ()
    """Further tags for search on the Hub."""

    def bundle_under(self, root: Path) -> Path:
        """Return where the bundle lies when release.yaml lies in `root`."""
        return under(root, self.bundle)


class DatasetArtifact(_Artifact):
    """A dataset repository."""

    kind: Literal["dataset"]
    task_categories: Texts = ()
    """Task ids of the Hub, for example `translation`."""
    sources: tuple[HubId, ...] = ()
    """Datasets on the Hub that this one was made from."""


class Peer(Record):
    """A model that another one is compared with."""

    name: HubId
    results: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Sealed results of its evaluation, relative to release.yaml."""


class ModelArtifact(_Artifact):
    """A model repository."""

    kind: Literal["model"]
    base: HubIds | None = None
    """The model, or models, that this one was made from."""
    relation: Literal["finetune", "merge", "quantized"] | None = None
    """How it was made from its base."""
    datasets: tuple[HubRepo, ...] = ()
    """Datasets that it was trained on; names in this release's namespace, or namespace/name."""
    pipeline_tag: str = "text-generation"
    """Task id of the Hub."""
    example: str = "ما عاصمة المغرب؟"
    """What the quick start of the card asks."""
    results: tuple[Path, ...] = ()
    """Sealed results of evaluations of this very model, relative to release.yaml; the card prints them."""
    base_results: tuple[Path, ...] = ()
    """Sealed results of what it was made from, measured in the same way; the card prints them beside."""
    peers: tuple[Peer, ...] = ()
    """Other models to stand beside it, measured in the same way."""
    eval_results: Mapping[str, str] = {}
    """Task of the results -> task id of the benchmark on the Hub, for the Hub's own leaderboards."""

    @model_validator(mode="after")
    def _relation_needs_a_base(self) -> ModelArtifact:
        if (self.relation is None) != (self.base is None):
            raise ValueError("`base` and `relation` belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _others_need_results_to_stand_beside(self) -> ModelArtifact:
        if (self.base_results or self.peers) and not self.results:
            raise ValueError("`base_results` and `peers` stand beside `results`: give these too")
        return self


PROMPTS: Mapping[AppLanguage, str] = {
    "ar": "Translate everything that follows into Arabic:\n\n{text}",
    "en": "Translate everything that follows into English:\n\n{text}",
}
EXAMPLES: Mapping[AppLanguage, tuple[str, ...]] = {
    "ar": ("ما عاصمة المغرب؟", "اكتب رسالة قصيرة أعتذر فيها عن تأخري."),
    "en": ("What is the capital of Morocco?", "Explain in two sentences why the sky is blue."),
}


def _over(defaults: Mapping[AppLanguage, Any], given: Mapping[AppLanguage, Any]) -> Mapping[AppLanguage, Any]:
    return {**defaults, **given}


class SpaceArtifact(_Artifact):
    """A Space repository; its README.md is part of the bundle.

    With `chat` or `translate` it is the Space that comes with hala-release, or one like it: it gets the models, pinned
    by their commits, and what its page says about them; once it runs, it is asked.
    """

    kind: Literal["space"]
    chat: tuple[HubRepo, ...] = ()
    """Models of this release to talk with, the first one chosen at the start."""
    translate: Mapping[AppLanguage, HubRepo] = {}
    """Language that is translated into -> the model of this release that does it."""
    prompts: Annotated[
        Mapping[AppLanguage, Annotated[str, Field(pattern=r"\{text\}")]], AfterValidator(partial(_over, PROMPTS))
    ] = PROMPTS
    """Language that is translated into -> what the model is told; `{text}` stands for the text."""
    examples: Annotated[
        Mapping[AppLanguage, Annotated[tuple[str, ...], Field(min_length=1)]], AfterValidator(partial(_over, EXAMPLES))
    ] = EXAMPLES
    """What the page offers to ask."""
    hardware: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "cpu-basic"
    """Flavor of the Hub that the Space is made for, for example `zero-a10g`; a suggestion, you choose."""

    @property
    def is_app(self) -> bool:
        """Whether it gets the family's models."""
        return bool(self.chat or self.translate)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it uses, as release.yaml names them."""
        return tuple(dict.fromkeys((*self.chat, *self.translate.values())))


Artifact = DatasetArtifact | ModelArtifact | SpaceArtifact
KINDS: dict[str, type[BaseModel]] = {"dataset": DatasetArtifact, "model": ModelArtifact, "space": SpaceArtifact}


class Collection(Record):
    """The collection that gathers the family on the Hub."""

    title: Annotated[str, Field(min_length=1, max_length=59)]
    description: Annotated[str, Field(max_length=150)] = ""


class Upstream(Record):
    """Something on the Hub that the family is made from."""

    license: License
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """The commit that was used."""


class Gates(Record):
    """What stops a push."""

    fail_on: Literal["error", "warning"] = "error"
    """The lowest level of finding that stops it."""


class Release(Record):
    """Artifacts that go out together under one version tag on every repository."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: HubName
    """Name of the family."""
    namespace: HubName
    """User or organization on the Hub."""
    version: Version
    """Semantic version; repositories are tagged `v` + version."""
    license: License
    """A license id of the Hub, a list of them, or `{id: other, name, link}`."""
    language: Texts = ()
    """ISO 639 codes of the family's languages."""
    citation: str = ""
    """BibTeX for the cards."""
    contact: str = ""
    """Where readers reach you: a web address, or an e-mail address."""
    upstream: Mapping[HubId, Upstream] = {}
    """Terms of the models and datasets that the family is made from, by their id on the Hub."""
    reported: tuple[Path, ...] = ()
    """Scores that others published, relative to release.yaml; the cards of models print them with their source."""
    visibility: Literal["public", "private"] = "public"
    """Of every repository, once all of them are tagged."""
    artifacts: Annotated[tuple[Annotated[Artifact, Field(discriminator="kind")], ...], Field(min_length=1)]
    collection: Collection | None = None
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _repositories_differ(self) -> Release:
        seen: set[tuple[str, str]] = set()
        for artifact in self.artifacts:
            key = (artifact.kind, self.repo_id(artifact.repo).lower())
            if key in seen:
                raise ValueError(f"artifacts: {artifact.kind} {artifact.repo} is named twice")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _spaces_use_models_of_the_release(self) -> Release:
        models = {self.repo_id(artifact.repo) for artifact in self.artifacts if artifact.kind == "model"}
        for artifact in self.artifacts:
            for name in artifact.models if isinstance(artifact, SpaceArtifact) else ():
                if self.repo_id(name) not in models:
                    raise ValueError(f"artifacts: {artifact.repo} uses {name}, which is no model of this release")
        return self

    @property
    def tag(self) -> str:
        """The tag of this version."""
        return tag_of(self.version)

    @property
    def in_order(self) -> tuple[Artifact, ...]:
        """Artifacts in the order of publication: what is depended on comes first."""
        order: tuple[Kind, ...] = ("dataset", "model", "space")
        return tuple(sorted(self.artifacts, key=lambda artifact: order.index(artifact.kind)))

    def repo_id(self, repo: str) -> str:
        """Return namespace/name."""
        return repo if "/" in repo else f"{self.namespace}/{repo}"


_MODELS = located.Models(
    kinds=KINDS,
    parts={"": Release, "license": NamedLicense, "collection": Collection, "gates": Gates, "peers": Peer},
)


def load(path: Path) -> Release:
    """Read a release file.

    Raises:
        ConfigError: the file is missing or wrong; lists every mistake with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"{path} does not exist", fix="write one with `hala-release init`") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}", fix="save it as UTF-8") from error
    try:
        document = located.Document(text)
    except located.Mistake as mistake:
        raise _not_a_release(path, mistake.problems) from mistake
    try:
        return Release.model_validate(document.data)
    except ValidationError as error:
        raise _not_a_release(path, located.explain(error, document, _MODELS)) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of release.yaml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **Release.model_json_schema()}


def _not_a_release(path: Path, problems: list[str]) -> ConfigError:
    return ConfigError(
        f"{path} is not a release:\n" + "\n".join(f"  {problem}" for problem in problems),
        fix="mend these lines; `hala-release schema` prints what is allowed",
    )
