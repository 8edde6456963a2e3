"""Datasets: facts from Parquet footers, and the layout that the Hub reads splits from.

data/train-00000-of-00002.parquet      configuration `default`, split `train`
train.parquet                          the same
ar/test-00000-of-00001.parquet         configuration `ar`, split `test`
ar/test/0000.parquet                   the same
    test/0000.parquet                      configuration `default`, split `test`: a usual name of a split
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hala_release.errors import PayloadInvalid
from hala_release.manifest import ConfigFacts, DatasetFacts, SplitFacts

_CONFIG = re.compile(r"\w[\w .+-]*")
"""What stands in the card as it is: in a glob, and between quotes in a line of code."""
_SPLIT = re.compile(r"(?!all$)\w+(?:\.\w+)*")
"""As `datasets` allows it (NamedSplit); `all` is its word for every split."""
_PART = re.compile(r"[\w.+-]+")
"""A file name that stands in the card as it is; brackets would make it a pattern."""
USUAL_SPLITS = {"train", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"}
"""Names by which a lone file, or a folder, is a split, as `datasets` reads them."""
_FILE = re.compile(r"(?P<split>\w+(?:\.\w+)*?)(?:-(?P<index>\d{5,})-of-(?P<count>\d{5,}))?$")


class Place(NamedTuple):
    """Where a data file belongs."""

    config: str
    split: str
    shard: int | None
    shards: int | None


def place_of(path: str, suffix: str = ".parquet") -> Place:
    """Read configuration, split and shard number from a path in the repository."""
    *folders, name = path.removesuffix(suffix).split("/")
    if folders[:1] == ["data"]:
        folders = folders[1:]
    if folders and not _CONFIG.fullmatch(folders[0]):
        raise PayloadInvalid(
            f"{path}: a configuration cannot be called {folders[0]!r}",
            fix="name its folder with letters, digits, space, `_`, `-`, `+` or `.`",
        )
    if len(folders) == 1 and folders[0] in USUAL_SPLITS:
        folders = ["default", *folders]
    if len(folders) == 2 and _SPLIT.fullmatch(folders[1]) and _PART.fullmatch(name):
        return Place(folders[0], folders[1], None, None)
    match = _FILE.fullmatch(name)
    if match is None or len(folders) > 1 or match["split"] == "all":
        raise PayloadInvalid(
            f"{path}: cannot tell its split",
            fix="name data files SPLIT or SPLIT-00000-of-00001, in `data/` or in a folder per configuration",
        )
    index, count = match["index"], match["count"]
    return Place(
        folders[0] if folders else "default",
        match["split"],
        int(index) if index else None,
        int(count) if count else None,
    )


def dataset_facts(files: Path, paths: Sequence[str]) -> DatasetFacts:
    """Read the footers of the Parquet files at `paths` under `files`; all shards of a configuration share one schema.

    Raises:
        PayloadInvalid: no data, a file that is not Parquet, shards missing or with different schemas.
    """
    if not paths:
        raise PayloadInvalid(f"{files} has no data files", fix="add Parquet or JSON lines files")
    configs: dict[str, dict[str, list[tuple[Place, str]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(paths):
        place = place_of(path)
        configs[place.config][place.split].append((place, path))
    return DatasetFacts(configs=tuple(_config_facts(files, name, splits) for name, splits in sorted(configs.items())))


def first_rows(file: Path, count: int) -> list[dict[str, Any]]:
    """Return the first rows of a file, at most `count`.

    Raises:
        PayloadInvalid: it is not Parquet.
    """
    try:
        with pq.ParquetFile(file) as data:
            batch = next(data.iter_batches(batch_size=count), None)
    except pa.ArrowInvalid as error:
        raise PayloadInvalid(f"{file.name} is not Parquet: {error}", fix="write it again") from error
    rows: list[dict[str, Any]] = batch.to_pylist() if batch else []
    return rows


def features_of(schema: pa.Schema) -> tuple[dict[str, Any], ...]:
    """Return the columns of a schema in the YAML form of a dataset card, as `datasets` itself writes it."""
    from datasets import Features  # takes a second to import

    return tuple(Features.from_arrow_schema(schema)._to_yaml_list())


def _config_facts(files: Path, config: str, splits: dict[str, list[tuple[Place, str]]]) -> ConfigFacts:
    reference: _Shard | None = None
    found = []
    for split, placed in sorted(splits.items()):
        _every_shard_is_there(split, placed)
        shards = [_Shard.read(files, path) for _, path in placed]
        reference = reference or shards[0]
        for shard in shards:
            _agree(reference, shard)
        found.append(
            SplitFacts(
                name=split,
                rows=sum(shard.rows for shard in shards),
                bytes=sum(shard.bytes for shard in shards),
                download_bytes=sum((files / shard.path).stat().st_size for shard in shards),
                files=tuple(shard.path for shard in shards),
            )
        )
    assert reference is not None  # noqa: S101 (every configuration has a shard)
    return ConfigFacts(name=config, features=reference.features, splits=tuple(found))


class _Shard(NamedTuple):
    """What the footer of one file says."""

    path: str
    schema: pa.Schema
    features: tuple[dict[str, Any], ...]
    rows: int
    bytes: int

    @classmethod
    def read(cls, files: Path, path: str) -> _Shard:
        footer = _footer(files / path, path)
        schema = footer.schema.to_arrow_schema()
        if len(set(schema.names)) != len(schema.names):
            raise PayloadInvalid(f"{path} has two columns of one name", fix="rename one, and write it again")
        try:
            features = features_of(schema)
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # whatever a hostile schema brings
            raise PayloadInvalid(
                f"{path} has a column that `datasets` cannot load: {error}", fix="write it with another type"
            ) from error
        size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        return cls(path, schema, features, footer.num_rows, size)


def _agree(one: _Shard, other: _Shard) -> None:
    if not other.schema.equals(one.schema, check_metadata=False):
        raise PayloadInvalid(
            f"{other.path} has another schema than {one.path}:\n{_difference(one.schema, other.schema)}",
            fix="write all shards of a configuration with one schema, or put this one in a folder of its own",
        )
    if other.features != one.features:
        raise PayloadInvalid(
            f"{other.path} says otherwise than {one.path} what its columns mean, for example in the names of labels",
            fix="write all shards with the same features",
        )


def _footer(file: Path, path: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise PayloadInvalid(
            f"{path} is not a whole Parquet file: {error}", fix="write the file again; it may have been cut off"
        ) from error


def _every_shard_is_there(split: str, shards: list[tuple[Place, str]]) -> None:
    counts = {place.shards for place, _ in shards}
    if len(counts) > 1:
        raise PayloadInvalid(
            f"split {split} mixes shards of different sets: " + ", ".join(path for _, path in shards[:4]),
            fix="keep the shards of one write",
        )
    count = counts.pop()
    if count is None:
        return
    numbers = {place.shard for place, _ in shards}
    if len(numbers) < len(shards) or not numbers <= set(range(count)):
        raise PayloadInvalid(
            f"split {split} has {len(shards)} shards of a set of {count}: " + ", ".join(path for _, path in shards[:4]),
            fix="keep the shards of one write",
        )
    if missing := set(range(count)) - numbers:
        raise PayloadInvalid(
            f"split {split} lacks {len(missing)} of {count} shards, the first is number {min(missing)}",
            fix="copy the missing shards, or write the split again",
        )


def _difference(expected: pa.Schema, found: pa.Schema) -> str:
    lines = []
    for name in dict.fromkeys([*expected.names, *found.names]):
        before = expected.field(name).type if name in expected.names else "absent"
        after = found.field(name).type if name in found.names else "absent"
        if before != after:
            lines.append(f"  column {name}: {before} there, {after} here")
    return "\n".join(lines) or "  the columns are in another order, or differ in whether they may be null"
