"""The metadata block of a README.md: read it, say what is wrong with it, turn it into tags."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

import yaml
from starlette.responses import JSONResponse, Response

from hala_release import vocabulary
from hala_release.errors import PayloadInvalid
from hala_release.localhub import git
from hala_release.localhub.store import Repo
from hala_release.localhub.wire import Call, text

_BLOCK = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
DEEPEST = 60
LONGEST = 1 << 20
LISTS = {"size_categories": "size_categories", "task_categories": "task_categories", "task_ids": "task_ids"}
LISTS |= {"pipeline_tag": "pipeline_tags"}
"""Keys of the metadata to the vocabularies that their values are from."""
EMPTY = "empty or missing yaml metadata in repo card"


class CardInvalid(PayloadInvalid):
    """The block is not metadata; the message says where."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain YAML values: dates stay text, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping of which no key hides another."""
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := next((key for key, count in counts.items() if count > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"duplicated key {twice!r}", node.start_mark)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(card: str) -> dict[str, Any]:
    """The metadata of a card; empty if there is none."""
    match = _BLOCK.match(card)
    if not match or not match[1].strip():
        return {}
    value = load(match[1])
    if not isinstance(value, dict):
        raise CardInvalid("the metadata must be a mapping of keys to values")
    return value


def body(card: str) -> str:
    """The text of a card, without its metadata."""
    return _BLOCK.sub("", card, count=1)


def load(block: str) -> Any:  # noqa: ANN401 - any YAML value
    """A small YAML text, as JSON can carry it."""
    if len(block) > LONGEST:
        raise CardInvalid(f"the metadata is longer than {LONGEST} characters")
    try:
        _bound(block)
        return _plain(yaml.load(block, Loader))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise CardInvalid(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CardInvalid(f"a value cannot be read: {error}") from error


def _bound(block: str) -> None:
    """Refuse what expands when it is read: aliases and bottomless nesting."""
    depth = 0
    for event in yaml.parse(block, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise CardInvalid("aliases (*name) are not allowed in metadata")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise CardInvalid(f"the metadata is nested deeper than {DEEPEST} levels")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """The value as JSON can carry it."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [_plain(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def of(repo: Repo, commit: str) -> dict[str, Any]:
    """The metadata of a repository at a commit; empty if its card has none or cannot be read."""
    entry = git.check(repo.git_dir, [f"{commit}:README.md"])[0]
    if entry is None or entry[1] != "blob" or entry[2] > 4 * LONGEST:
        return {}
    try:
        return read(git.contents(repo.git_dir, [entry[0]])[entry[0]].decode("utf-8", "replace"))
    except CardInvalid:
        return {}


def errors(metadata: dict[str, Any]) -> Iterator[str]:
    """What the Hub refuses in metadata that is a mapping."""
    for key in ("license_name", "license_link", "pretty_name", "library_name", "pipeline_tag", "title", "sdk"):
        if key in metadata and not isinstance(metadata[key], str):
            yield f'"{key}" must be a string'
    for key in ("license", "language", "base_model", "datasets", "metrics", "task_categories", "size_categories"):
        if key in metadata and not _text_or_texts(metadata[key]):
            yield f'"{key}" must be a string or a list of strings'
    if metadata.get("tags") is not None and not (
        isinstance(metadata["tags"], list) and _text_or_texts(metadata["tags"])
    ):
        yield '"tags" must be a list of strings'
    for key, form in (("model-index", list), ("configs", list), ("dataset_info", (dict, list))):
        if key in metadata and not isinstance(metadata[key], form):
            yield f'"{key}" has the wrong type'
    if isinstance(index := metadata.get("model-index"), list):
        yield from _index_errors(index)


def _index_errors(index: list[Any]) -> Iterator[str]:
    """What keeps a `model-index` from being read: every result has a task, a dataset, and metrics with values."""
    for at, model in enumerate(index):
        where = f"model-index[{at}]"
        yield from _needs_text(model, where, "name")
        results = model.get("results") if isinstance(model, dict) else None
        if not isinstance(results, list):
            yield f'"{where}.results" is required and must be a list'
            continue
        for number, result in enumerate(results):
            yield from _result_errors(result, f"{where}.results[{number}]")


def _result_errors(result: Any, where: str) -> Iterator[str]:  # noqa: ANN401 - any YAML value
    if not isinstance(result, dict):
        yield f'"{where}" must be a mapping'
        return
    yield from _needs_text(result.get("task"), f"{where}.task", "type")
    yield from _needs_text(result.get("dataset"), f"{where}.dataset", "type", "name")
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f'"{where}.metrics" is required and must be a list'
        return
    for at, metric in enumerate(metrics):
        yield from _needs_text(metric, f"{where}.metrics[{at}]", "type")
        if isinstance(metric, dict) and metric.get("value") is None:
            yield f'"{where}.metrics[{at}].value" is required'


def _needs_text(value: Any, where: str, *keys: str) -> Iterator[str]:  # noqa: ANN401 - any YAML value
    for key in keys:
        said = value.get(key) if isinstance(value, dict) else None
        if not isinstance(said, str) or not said.strip():
            yield f'"{where}.{key}" is required and must be a string'


def warnings(metadata: dict[str, Any]) -> Iterator[str]:
    """What the Hub takes, but does not understand."""
    if not metadata:
        yield EMPTY
    if "other" in texts(metadata, "license") and not metadata.get("license_name"):
        yield '"license" is "other": name it in "license_name", and link to its text in "license_link"'
    for key, name in LISTS.items():
        known = vocabulary.load(name).values
        for value in texts(metadata, key):
            if value not in known:
                yield f'The {key} "{value}" is not in the official list: {", ".join(sorted(known))}'


def _text_or_texts(value: Any) -> bool:  # noqa: ANN401 - any YAML value
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def texts(metadata: dict[str, Any], key: str) -> list[str]:
    """A value that may be one string or several."""
    value = metadata.get(key)
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def tags(kind: str, metadata: dict[str, Any]) -> list[str]:
    """The tags that the Hub derives from metadata."""
    prefixed = {"license": "license", "language": "language" if kind == "dataset" else ""}
    prefixed |= {"datasets": "dataset", "base_model": "base_model"}
    if kind == "dataset":
        prefixed |= {key: key for key in ("task_categories", "task_ids", "size_categories", "multilinguality")}
    plain = [value for key in ("library_name", "pipeline_tag", "tags") for value in texts(metadata, key)]
    found = plain + [f"{p}:{value}" if p else value for key, p in prefixed.items() for value in texts(metadata, key)]
    if relation := metadata.get("base_model_relation"):
        found += [f"base_model:{relation}:{value}" for value in texts(metadata, "base_model")]
    return list(dict.fromkeys([*found, "region:us"]))


def validate(call: Call) -> Response:
    """POST /api/validate-yaml: errors stop a commit, warnings are shown."""
    values = call.json()
    content = text(values, "content")
    try:
        metadata = read(content)
        found, noted = list(errors(metadata)), list(warnings(metadata))
    except CardInvalid as error:
        found, noted = [str(error)], []
    shown = [] if found else [{"message": message} for message in noted]
    answer: dict[str, Any] = {"errors": [{"message": message} for message in found], "warnings": shown}
    if found:
        answer["error"] = "Invalid metadata in README.md"
    return JSONResponse(answer, 400 if found else 200)
