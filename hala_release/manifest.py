"""The file contract as types: what a bundle says of itself.

A bundle is a directory with `files/`, exactly as they will lie on the Hub, and `manifest.json`, written last. Known
schema versions are read for ever; a newer one is refused with the way out.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from hala_release.errors import ContractError, SchemaTooNew

SCHEMA = 1


class Record(BaseModel):
    """Base of every value object: immutable, and no unknown key gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)),
}


def problem_with_path(path: str) -> str | None:
    """Why `path` cannot be published, or None when it can.

    Refused is what escapes the repository, what git or a file system of some reader cannot hold, and what shows
    otherwise than it is: `..`, absolute paths, backslashes, control and bidirectional-override characters, names
    that are not NFC.
    """
    parts = path.split("/")
    if not path or path.startswith("/") or "" in parts:
        return "is empty, absolute or has an empty component"
    if any(part in {".", ".."} for part in parts):
        return "has a `.` or `..` component"
    if any(part.lower() == ".git" for part in parts):
        return "has a `.git` component"
    if ".cache" in parts:
        return "has a `.cache` component, which clients of the Hub refuse to upload"
    if any(character in path for character in '\\<>:"|?*') or any(part.endswith((".", " ")) for part in parts):
        return "cannot be a file on Windows, because of a character in it or at an end"
    if any(part.partition(".")[0].lower() in _WINDOWS_DEVICES for part in parts):
        return "has a component that is a device on Windows"
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in path):
        return "has a control or invisible character"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode form NFC, so it changes when it is copied between systems"
    if any(len(part.encode()) > 255 for part in parts) or len(path.encode()) > 1024:
        return "is longer than 255 bytes in a component or 1,024 in all"
    return None


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of paths, of files or folders, that are one on a file system that ignores case."""
    seen: dict[str, tuple[str, str]] = {}
    found = []
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            other, owner = seen.setdefault(here.casefold(), (here, path))
            if other != here:
                found.append((owner, path))
                break
    return found


def _publishable(path: str) -> str:
    if problem := problem_with_path(path):
        raise ValueError(f"path {path!r} {problem}")
    return path


RepoPath = Annotated[str, AfterValidator(_publishable)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileEntry(Record):
    """One payload file."""

    path: RepoPath
    """Where it lies in the repository: relative, with `/`."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    sha256: Sha256


class SplitFacts(Record):
    """One split of a configuration, read from Parquet footers."""

    name: str
    rows: int
    bytes: int
    """Uncompressed bytes of all column chunks."""
    download_bytes: int
    """Bytes of the files."""
    files: tuple[RepoPath, ...]


class ConfigFacts(Record):
    """One configuration: splits that share one schema."""

    name: str
    features: tuple[dict[str, JsonValue], ...]
    """Columns in the YAML form of a dataset card (`dataset_info.features`)."""
    splits: tuple[SplitFacts, ...]


class DatasetFacts(Record):
    """What the Parquet footers of a dataset say."""

    kind: Literal["dataset"] = "dataset"
    configs: tuple[ConfigFacts, ...]

    @property
    def rows(self) -> int:
        """Rows over all configurations and splits."""
        return sum(split.rows for config in self.configs for split in config.splits)


class ModelFacts(Record):
    """What the safetensors headers, config.json and the tokenizer of a model say."""

    kind: Literal["model"] = "model"
    architecture: str
    """First of `architectures` in config.json."""
    model_type: str
    parameters: dict[str, int]
    """Stored parameters by safetensors dtype; tied tensors count once."""
    dtype: str
    """The dtype that most parameters have."""
    tensor_bytes: int
    """Bytes of all tensors."""
    context: int | None
    """`max_position_embeddings` of config.json."""
    vocabulary: int | None
    """`vocab_size` of config.json."""
    quantization: str | None
    """`quant_method` of config.json."""
    tokenizer_sha256: Sha256 | None
    """Digest of tokenizer.json, or of the sentencepiece file where there is only that."""
    chat_template_sha256: Sha256 | None
    """Digest of the template's text, wherever it is stored."""

    @property
    def total_parameters(self) -> int:
        """Parameters of all dtypes."""
        return sum(self.parameters.values())


class SpaceFacts(Record):
    """What the front matter of a Space says."""

    kind: Literal["space"] = "space"
    sdk: str
    sdk_version: str | None
    app_file: str | None


class Score(Record):
    """One number that an evaluation gave."""

    task: str
    """As the harness calls it, for example `hala_exams`."""
    title: str
    """As people know it, for example `EXAMS`."""
    version: str
    """Of the task."""
    metric: str
    """For example `acc_norm` or `chrf++`."""
    value: float
    out_of: Literal[1, 100]
    """The best value there is."""
    stderr: float | None
    """Standard error of the value, on the same scale; None where the harness gives none."""
    n: Annotated[int, Field(ge=1)]
    """Items that were scored: all of them."""
    shots: Annotated[int, Field(ge=0)]
    """Solved examples in each prompt."""
    language: str
    """Of the prompt, for example `ar`; of a translation, `en-ar`."""
    data: str
    """What was asked: `namespace/name@commit`, or the file's `sha256:…`."""
    signature: str = ""
    """What else decides the number, as the harness writes it; sacreBLEU's signature, for example."""
    higher_is_better: bool = True
    mean_of: tuple[str, ...] = ()
    """Tasks whose mean this is, every one of them among the scores."""
    mean_by: Literal["", "items", "tasks"] = ""
    """Whether every item counts the same in that mean, or every task."""

    @property
    def samples(self) -> str:
        """Path of the file that says what each item gave, in bundles that have it."""
        name = re.sub(r"[^\w.+-]+", "-", self.task)
        return f"samples/{name}.jsonl"


class ResultsFacts(Record):
    """What an evaluation measured, bound to the weights that it was measured on."""

    kind: Literal["results"] = "results"
    weights_sha256: Sha256
    """`weights_sha256` of the files that were evaluated."""
    tokenizer_sha256: Sha256 | None
    chat_template_sha256: Sha256 | None
    """None where no chat template was applied."""
    config_sha256: Sha256 | None = None
    """Of config.json; None where it was not recorded."""
    generation_config_sha256: Sha256 | None = None
    """Of generation_config.json; None where there was none, or it was not recorded."""
    model: str = ""
    """What the evaluated model is called: `namespace/name`, with `@commit` where it came from there."""
    harness: str
    """Name and version, for example `lm-eval 0.4.13`."""
    backend: str
    """What computed, with its version, for example `transformers 5.17.0`."""
    dtype: str
    """What it computed in."""
    scores: tuple[Score, ...]
    note: str = ""
    """What a reader has to know before comparing these numbers with others."""


Facts = Annotated[DatasetFacts | ModelFacts | SpaceFacts | ResultsFacts, Field(discriminator="kind")]
Kind = Literal["dataset", "model", "space"]
"""What a repository of the Hub can be."""


def weights_sha256(files: Iterable[FileEntry]) -> str:
    """Return what names the weights among files: the same for the same tensors in the same files, and nothing else."""
    lines = (f"{entry.sha256}  {entry.path}\n" for entry in files if entry.path.endswith(".safetensors"))
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


class Input(Record):
    """A bundle that this one was made from."""

    name: str
    """What it was to the stage: `rows`, `base`, `data`."""
    manifest_sha256: Sha256


class _Origin(Record):
    stage: str
    """The pipeline stage, or `adopt` for what another tool made."""
    config: dict[str, JsonValue] = {}
    inputs: tuple[Input, ...] = ()
    tools: dict[str, str] = {}
    """Versions of what took part; recorded, never hashed into an identity."""


class Ancestor(_Origin):
    """A bundle that took part, directly or through others."""

    manifest_sha256: Sha256
    name: str
    kind: str
    """Of its facts."""


class Provenance(_Origin):
    """How the bundle came to be."""

    ancestors: tuple[Ancestor, ...] = ()
    """Everything that it was made from, so that the whole way is known where only this bundle is; each one once."""

    @model_serializer(mode="wrap")
    def _without_empty_ancestors(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write what was written before there were ancestors as it was written then."""
        document: dict[str, Any] = dump(self)
        if not self.ancestors:
            document.pop("ancestors", None)
        return document


class Manifest(Record):
    """What a bundle says of itself: every file, the facts, and how it came to be."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: str
    facts: Facts
    files: tuple[FileEntry, ...]
    """Sorted by path."""
    provenance: Provenance

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="after")
    def _files_can_lie_side_by_side(self) -> Manifest:
        paths = [entry.path for entry in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("files are not sorted by path, or one is listed twice")
        if clashes := collisions(paths):
            raise ValueError("paths differ only in case: " + ", ".join(f"{a} and {b}" for a, b in clashes))
        return self

    def to_json(self) -> bytes:
        """Return the bytes of manifest.json: the same manifest gives the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> Manifest:
        """Read manifest.json, or raise a ContractError that lists every problem and starts with `where`."""
        try:
            document: Any = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{where} is not JSON: {error}", fix="make the bundle again") from error
        if not isinstance(document, dict):
            raise ContractError(f"{where} is not a JSON object", fix="make the bundle again")
        version = document.get("schema")
        if version is None:
            raise ContractError(f"{where} does not say its `schema`", fix="make the bundle again")
        if isinstance(version, int) and version > SCHEMA:
            raise SchemaTooNew(
                f"{where} has schema {version}; this hala-release reads up to {SCHEMA}",
                fix="pip install --upgrade hala-release",
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            problems = "\n".join(
                f"  {'.'.join(str(step) for step in problem['loc']) or 'manifest'}: {problem['msg']}"
                for problem in error.errors()
            )
            raise ContractError(f"{where} is not a manifest:\n{problems}", fix="make the bundle again") from error
