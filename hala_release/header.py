"""The YAML block of a card as typed data: what the Hub reads from model, dataset and Space cards."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from hala_release import vocabulary
from hala_release.finding import Finding
from hala_release.manifest import Record, problem_with_path
from hala_release.release import HubRepo

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|code|multilingual")
_URL = re.compile(r"https://[^\s/@:]+(:\d+)?([/?#]\S*)?")
_SYMBOL = "[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
_ELEMENT = (
    f"(?:[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|"
    f"{_SYMBOL}\ufe0f?[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*)"
)
_EMOJI = re.compile(f"{_ELEMENT}(?:\u200d{_ELEMENT})*")


def _plain(text: str) -> str:
    if found := _UNSEEN.search(text):
        raise ValueError(f"has the invisible character U+{ord(found[0]):04X}, or a line break")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError(f"{text!r} is not an https:// address")
    return text


def _link(text: str) -> str:
    if "://" in text:
        return _url(text)
    if problem := problem_with_path(text):
        raise ValueError(f"{text!r} is neither an https:// address nor a file of the repository: it {problem}")
    return text


def _language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise ValueError(f"{text!r} is not a language code like ar, arz or ar-EG")
    return text


def _emoji(text: str) -> str:
    if not _EMOJI.fullmatch(text):
        raise ValueError(f"{text!r} is not one emoji")
    return text


def _one_of(name: str) -> AfterValidator:
    """Return a validator for a list that is closed: the Hub refuses what is not in it."""

    def check(text: str) -> str:
        if text not in (known := vocabulary.load(name).values):
            raise ValueError(f"{text!r} is none of {', '.join(sorted(known))}")
        return text

    return AfterValidator(check)


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(_plain)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]
Languages = Annotated[tuple[Annotated[Text, AfterValidator(_language)], ...], BeforeValidator(_several)]
Repos = Annotated[tuple[HubRepo, ...], BeforeValidator(_several)]
Url = Annotated[Text, AfterValidator(_url)]
Link = Annotated[Text, AfterValidator(_link)]
Count = Annotated[StrictInt, Field(ge=0)]
Number = Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False)]


class _Block(Record):
    """A mapping of the header, written with the Hub's own keys."""

    model_config = ConfigDict(populate_by_name=True)

    def data(self) -> dict[str, Any]:
        """Return the keys that have a value, in the Hub's usual order, as plain YAML data."""
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is not None and value not in ((), {}):
                found[field.alias or name] = _plain_data(value)
        return found


def _plain_data(value: object) -> object:
    match value:
        case _Block():
            return value.data()
        case tuple() | list():
            return [_plain_data(item) for item in value]
        case dict():
            return {key: _plain_data(item) for key, item in value.items()}
        case _:
            return value


class Task(_Block):
    """What was evaluated."""

    type: Text
    name: Text | None = None


class EvaluatedDataset(_Block):
    """What it was evaluated on."""

    type: Text
    name: Text
    config: Text | None = None
    split: Text | None = None
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    args: dict[str, JsonValue] | None = None


class Metric(_Block):
    """One score; its error and its number of items belong into `args`, which every reader keeps."""

    type: Text
    value: Number
    name: Text | None = None
    config: Text | None = None
    args: dict[str, JsonValue] | None = None


class Source(_Block):
    """Where the scores can be read."""

    url: Url
    name: Text | None = None


class Result(_Block):
    """The scores of one task on one dataset."""

    task: Task
    dataset: EvaluatedDataset
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    source: Source | None = None


class ModelIndex(_Block):
    """The scores of a model."""

    name: Text
    results: tuple[Result, ...]

    @model_validator(mode="after")
    def _results_differ(self) -> ModelIndex:
        """Readers take results of the same task and dataset for one, with the source of the first."""
        seen = set()
        for result in self.results:
            dataset = result.dataset
            key = (result.task.type, dataset.type, dataset.config, dataset.split, dataset.revision)
            if key in seen:
                raise ValueError(f"{result.task.type} on {dataset.name} appears twice: put its metrics into one result")
            seen.add(key)
        return self


class Co2(_Block):
    """Emissions of the training."""

    emissions: Annotated[Number, Field(ge=0)]
    """Grams of CO2 equivalent."""
    source: Text | None = None
    training_type: Text | None = None
    geographical_location: Text | None = None
    hardware_used: Text | None = None


class DataFile(_Block):
    """The files of a split."""

    split: Text
    path: Text | tuple[Text, ...]


class DatasetConfig(_Block):
    """A configuration, as the viewer and load_dataset read it."""

    config_name: Text
    default: StrictBool | None = None
    data_dir: Text | None = None
    data_files: Text | tuple[Text | DataFile, ...] | dict[str, Text | tuple[Text, ...]] | None = None


class SplitInfo(_Block):
    """The size of a split."""

    name: Text
    num_bytes: Count | None = None
    num_examples: Count | None = None


class DatasetInfo(_Block):
    """Columns and sizes of a configuration."""

    config_name: Text | None = None
    features: tuple[dict[str, Any], ...] = ()
    splits: tuple[SplitInfo, ...] = ()
    download_size: Count | None = None
    dataset_size: Count | None = None


class _Licensed(_Block):
    """Language and terms, which every kind of card has."""

    language: Languages = ()
    license: Texts = ()
    license_name: Text | None = None
    license_link: Link | None = None

    @model_validator(mode="after")
    def _other_is_named(self) -> _Licensed:
        if "other" in self.license and not (self.license_name and self.license_link):
            raise ValueError("license: `other` needs license_name and license_link")
        return self

    def data(self) -> dict[str, Any]:
        """Return the keys that have a value; a list of one is written as people write it."""
        found = super().data()
        for key in ("license", "base_model", "dataset_info"):
            match found.get(key):
                case [one]:
                    found[key] = one
        return found


class ModelHeader(_Licensed):
    """The header of a model card."""

    library_name: Text | None = None
    pipeline_tag: Text | None = None
    base_model: Repos = ()
    base_model_relation: Annotated[Text, _one_of("base_model_relations")] | None = None
    new_version: HubRepo | None = None
    datasets: Repos = ()
    buckets: Texts = ()
    metrics: Texts = ()
    tags: Texts = ()
    thumbnail: Link | None = None
    co2_eq_emissions: Co2 | None = None
    model_index: Annotated[tuple[ModelIndex, ...], Field(alias="model-index", max_length=1)] = ()

    @model_validator(mode="after")
    def _relation_has_a_base(self) -> ModelHeader:
        if self.base_model_relation and not self.base_model:
            raise ValueError("base_model_relation: needs base_model")
        return self


class DatasetHeader(_Licensed):
    """The header of a dataset card."""

    pretty_name: Text | None = None
    annotations_creators: Texts = ()
    language_creators: Texts = ()
    language_details: Texts = ()
    multilinguality: Texts = ()
    size_categories: Texts = ()
    source_datasets: Texts = ()
    task_categories: Texts = ()
    task_ids: Texts = ()
    paperswithcode_id: Text | None = None
    tags: Texts = ()
    thumbnail: Link | None = None
    configs: tuple[DatasetConfig, ...] = ()
    dataset_info: Annotated[
        tuple[DatasetInfo, ...],
        BeforeValidator(lambda value: (value,) if isinstance(value, (dict, DatasetInfo)) else value),
    ] = ()

    @model_validator(mode="after")
    def _configs_differ(self) -> DatasetHeader:
        names = [config.config_name for config in self.configs]
        if len(set(names)) < len(names):
            raise ValueError("configs: a config_name appears twice")
        if sum(config.default is True for config in self.configs) > 1:
            raise ValueError("configs: more than one is the default")
        return self


class SpaceHeader(_Licensed):
    """The header of a Space's card, from which the Hub builds it."""

    title: Text
    emoji: Annotated[str, AfterValidator(_emoji)] | None = None
    color_from: Annotated[Annotated[Text, _one_of("colors")] | None, Field(alias="colorFrom")] = None
    color_to: Annotated[Annotated[Text, _one_of("colors")] | None, Field(alias="colorTo")] = None
    sdk: Annotated[Text, _one_of("sdks")]
    sdk_version: Annotated[str, Field(pattern=r"^\d+(\.\d+){1,2}\w*$")] | None = None
    python_version: Annotated[str, Field(pattern=r"^3\.\d+(\.\d+)?$")] | None = None
    app_file: Link | None = None
    app_port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = None
    base_path: Annotated[Text, Field(pattern="^/")] | None = None
    full_width: Annotated[StrictBool | None, Field(alias="fullWidth")] = None
    header: Literal["mini", "default"] | None = None
    short_description: Annotated[Text, Field(max_length=60)] | None = None
    models: Repos = ()
    datasets: Repos = ()
    tags: Texts = ()
    thumbnail: Link | None = None
    pinned: StrictBool | None = None
    hf_oauth: StrictBool | None = None
    hf_oauth_scopes: Texts = ()
    hf_oauth_expiration_minutes: Annotated[StrictInt, Field(ge=1, le=43200)] | None = None
    hf_oauth_authorized_org: Texts = ()
    disable_embedding: StrictBool | None = None
    startup_duration_timeout: Annotated[Text, Field(pattern=r"^[0-9.]+ ?[a-z]+$")] | None = None
    suggested_hardware: Text | None = None
    custom_headers: dict[str, Text] | None = None
    preload_from_hub: Texts = ()

    def data(self) -> dict[str, Any]:
        """Return the keys that have a value; a Space says what it is before its terms."""
        found = super().data()
        terms = {key: found.pop(key) for key in _Licensed.model_fields if key in found}
        return found | terms

    @model_validator(mode="after")
    def _sdk_takes_its_keys(self) -> SpaceHeader:
        if self.app_port is not None and self.sdk != "docker":
            raise ValueError("app_port: only a docker Space has one")
        if self.app_file is not None and "://" in self.app_file:
            raise ValueError("app_file: names a file of the repository")
        return self


Header = ModelHeader | DatasetHeader | SpaceHeader
Kind = Literal["model", "dataset", "space"]

_HEADERS: dict[str, type[_Block]] = {"model": ModelHeader, "dataset": DatasetHeader, "space": SpaceHeader}
_INNER = (Task, EvaluatedDataset, Metric, Source, Result, ModelIndex, Co2, DataFile, DatasetConfig, SplitInfo)

_ALSO = frozenset(
    {
        "duplicated_from", "eval_results", "extra_gated_button_content", "extra_gated_description",
        "extra_gated_eu_disallowed", "extra_gated_fields", "extra_gated_heading", "extra_gated_prompt",
        "failureStrategy", "inference", "instance_prompt", "language_bcp47", "license_details", "mask_token",
        "model_creator", "model_name", "model_type", "prompt_template", "quantized_by", "suggested_storage",
        "train-eval-index", "viewer", "widget",
    }
)  # fmt: skip
"""Keys that cards carry and that are not modelled here."""

_LISTS: dict[str, str] = {
    "language": "languages",
    "license": "licenses",
    "library_name": "libraries",
    "pipeline_tag": "pipeline_tags",
    "annotations_creators": "annotations_creators",
    "language_creators": "language_creators",
    "multilinguality": "multilinguality",
    "size_categories": "size_categories",
    "task_categories": "task_categories",
    "task_ids": "task_ids",
    "suggested_hardware": "hardware",
}
"""Key -> the vocabulary that its values come from; these lists grow, so an unknown id is only doubtful."""


def findings(kind: Kind, metadata: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """Yield what is wrong or doubtful in the YAML block of any card, also one that was written by hand."""
    header = _HEADERS[kind]
    known = _keys(header)
    given = {key: value for key, value in metadata.items() if key in known and value is not None}
    for key in metadata:
        if key not in known and key not in _ALSO:
            yield from _misspelled(str(key), sorted(known), where)
    yield from _mistakes(header, given, where)
    for key, name in _LISTS.items():
        yield from _unknown_ids(key, given.get(key), name, where)
    if kind == "model":
        for key in ("library_name", "pipeline_tag", "license"):
            if not given.get(key):
                yield Finding(
                    "warning", f"{where}, {key}", "the model card does not say it", f"add `{key}` to the YAML block"
                )


def _keys(block: type[_Block]) -> set[str]:
    return {field.alias or name for name, field in block.model_fields.items()}


def _misspelled(key: str, known: list[str], where: str, path: str = "") -> Iterator[Finding]:
    if close := difflib.get_close_matches(key[:64], known, n=1, cutoff=0.8):
        place = path or key
        yield Finding(
            "warning",
            f"{where}, {place if place.isprintable() else ascii(place)}",
            f"the Hub does not know the key {key!r}",
            f"did you mean `{close[0]}`?",
        )


def _mistakes(header: type[_Block], given: dict[str, Any], where: str) -> Iterator[Finding]:
    try:
        header.model_validate(given)
    except ValidationError as error:
        inner = set().union(*(_keys(block) for block in (*_INNER, DatasetInfo)))
        told: dict[str, str] = {}
        for problem in error.errors(include_url=False, include_context=False):
            if problem["type"] == "extra_forbidden":
                path = ".".join(str(step) for step in problem["loc"])
                yield from _misspelled(str(problem["loc"][-1]), sorted(inner), where, path)
                continue
            steps = [str(step) for step in problem["loc"] if isinstance(step, int) or step in inner | _keys(header)]
            place, sentence = _sentence(problem, ".".join(steps))
            told.setdefault(place, sentence)
        for place, sentence in told.items():
            # Where several forms are allowed, what is wrong deepest down belongs to the form that was meant.
            if not any(other.startswith(f"{place}.") for other in told):
                yield Finding("error", f"{where}, {place}", sentence, f"correct `{place}` in the YAML block")


def _sentence(problem: ErrorDetails, path: str) -> tuple[str, str]:
    """Return the place and what is wrong there; rules of a whole block begin with the key that they are about."""
    match problem["type"]:
        case "missing":
            return path, "missing"
        case "string_type" if isinstance(problem["input"], bool | int | float):
            return path, f"YAML reads {problem['input']!r}, which is not text; put it in quotes"
        case "tuple_type":
            if problem["input"] is False:
                return path, "YAML reads False, which is no list; if `no` is meant, put it in quotes"
            return path, "has to be a list"
        case "int_type" | "float_type":
            return path, "has to be a number"
        case "bool_type":
            return path, "has to be true or false"
        case "dict_type" | "model_type" | "model_attributes_type":
            return path, "has to hold `key: value` lines"
        case "value_error":
            sentence = problem["msg"].removeprefix("Value error, ")
            if path:
                return path, sentence
            key, _, rest = sentence.partition(": ")
            return key, rest
        case _:
            return path or "the block", problem["msg"]


def _unknown_ids(key: str, value: object, name: str, where: str) -> Iterator[Finding]:
    values = value if isinstance(value, (list, tuple)) else [value]
    for given in values:
        if not isinstance(given, str):
            continue
        base = given.partition("-")[0] if key == "language" else given
        known = vocabulary.load(name)
        if base in known.values or (key == "language" and base in {"code", "multilingual"}):
            continue
        close = difflib.get_close_matches(given[:64], known.values, n=1) if key != "language" else []
        yield Finding(
            "warning",
            f"{where}, {key}",
            f"{given[:64]!r} is not in the Hub's list as of {known.seen}",
            f"did you mean `{close[0]}`?" if close else "use an id of the list, or leave it if the Hub has it by now",
        )
