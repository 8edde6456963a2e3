"""`python -m tests.bench.dedup [ROWS]`: MinHash deduplication beside datatrove's own, and whether both find the same.

The same made rows (`tests.bench.road`), the same workers. datatrove runs as it is shipped, with spaCy's Arabic words;
and once more with texts that are folded and cut already, so that it has less to do, and both see the same words: then
every pair must be the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.text import TextNormConfig

from hala_release.bundle import Bundle
from pipeline import tables
from pipeline.dedup import STAGE, DedupConfig
from pipeline.executor import Local
from pipeline.stage import run_stage
from pipeline.words import folded
from tests.bench.road import MADE, SHARED, MadeConfig

ROWS = 100_000
PLAIN = TextNormConfig(
    lowercase=False,
    norm_whitespace=False,
    remove_punctuation=False,
    norm_unicode_diacritics=False,
    norm_numbers=False,
)


class Comparison(NamedTuple):
    """What both took and found."""

    rows: int
    ours: float
    """Seconds of the whole stage `dedup`."""
    peer: float
    """Seconds of datatrove's signature, buckets, cluster and filter."""
    both: int
    """Pairs of rows that both put in one cluster."""
    only_ours: int
    only_peer: int


class SpacedWords:
    """Cuts a text that is folded already."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words."""
        return text.split(" ")


class Signature(MinhashDedupSignature):
    """datatrove's signature, working with xxhash 4, which takes no strings; and with words that are cut already."""

    def __init__(self, folder: str, config: MinhashConfig, language: str | None) -> None:
        super().__init__(folder, config, language or "ace_Arab")  # one that datatrove has no tokenizer for
        self._hash_func = hashed
        if language is None:
            self.word_tokenizer = SpacedWords()


def hashed(text: str) -> int:
    """Hash as datatrove means to."""
    return xxhash.xxh64_intdigest(text.encode())


def compare(work: Path, rows: int = ROWS, workers: int = 2, *, language: str | None = None) -> Comparison:
    """Deduplicate the same rows both ways; a `language` gives datatrove the texts as they are."""
    bundle = run_stage(MADE, MadeConfig(rows=rows, executor=Local(workers=workers)), {}, work)
    shards = [str(bundle.files / file) for file in _files(bundle)]
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        config = DedupConfig(prompt_action="keep", executor=Local(workers=workers))
        start = time.perf_counter()
        result = run_stage(STAGE, config, {"rows": [bundle]}, Path(scratch) / "ours")
        ours = time.perf_counter() - start
        mine = _our_clusters(result, shards)
        source = Path(scratch) / "texts"
        lengths = _write_texts(shards, source, plain=language is None)
        start = time.perf_counter()
        _peer(source, Path(scratch) / "peer", len(shards), workers, language)
        peer = time.perf_counter() - start
        theirs = _peer_clusters(Path(scratch) / "peer" / "remove", lengths)
    return Comparison(rows, ours, peer, *_agreement(mine, theirs))


def _files(bundle: Bundle) -> Sequence[str]:
    facts = bundle.manifest.facts
    assert facts.kind == "dataset"
    return facts.configs[0].splits[0].files


def _write_texts(shards: list[str], folder: Path, *, plain: bool) -> list[int]:
    """Write what datatrove reads: `id` and `text`; return the rows of each shard."""
    folder.mkdir()
    lengths = []
    for number, shard in enumerate(shards):
        table = pa.concat_tables(tables.read_tables(shard))
        found = tables.texts(table, "latest")
        values: Any = found.values.to_pylist()
        if plain:
            one = folded(found.values, "words")
            data = bytes(one.data)
            edges = zip(one.starts.tolist(), one.ends.tolist(), strict=True)
            values = [data[start:end].decode() for start, end in edges]
        bounds = found.bounds.tolist()
        texts = [" ".join(filter(None, values[a:b])) for a, b in pairwise(bounds)]
        pq.write_table(pa.table({"id": table.column("id"), "text": texts}), folder / f"{number:05d}.parquet")
        lengths.append(len(texts))
    return lengths


def _peer(source: Path, work: Path, tasks: int, workers: int, language: str | None) -> None:
    config = MinhashConfig(norm_config=PLAIN if language is None else TextNormConfig(norm_numbers=False))
    signatures, buckets, remove = (str(work / name) for name in ("signatures", "buckets", "remove"))
    read = ParquetReader(str(source))
    phases = [
        ([read, Signature(signatures, config, language)], tasks),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, remove, config=config, save_cluster_id=True)], 1),
        ([read, MinhashDedupFilter(remove), ParquetWriter(str(work / "kept"))], tasks),
    ]
    for number, (steps, count) in enumerate(phases):
        logs = str(work / "logs" / str(number))
        LocalPipelineExecutor(pipeline=steps, tasks=count, workers=workers, logging_dir=logs).run()


def _our_clusters(result: Bundle, shards: list[str]) -> np.ndarray[Any, Any]:
    """Return for each row the number of the row that stays for it."""
    ids = [name for shard in shards for name in pq.read_table(shard, columns=["id"]).column("id").to_pylist()]
    number = {name: place for place, name in enumerate(ids)}
    keepers: list[str | None] = []
    for path in sorted((result.root / "work" / "decisions").glob("*.parquet")):
        keepers += pq.read_table(path, columns=["keeper"]).column("keeper").to_pylist()
    return np.array([place if keeper is None else number[keeper] for place, keeper in enumerate(keepers)])


def _peer_clusters(folder: Path, lengths: list[int]) -> np.ndarray[Any, Any]:
    clusters = np.arange(sum(lengths))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for path in folder.glob("*.clusters"):
        found = np.fromfile(path, "<u4").reshape(-1, 2)
        clusters[starts[int(path.stem)] + found[:, 0]] = len(clusters) + found[:, 1].astype(np.int64)
    return clusters


def _agreement(mine: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> tuple[int, int, int]:
    both = _pairs(np.stack([mine, theirs], axis=1))
    return both, _pairs(mine[:, None]) - both, _pairs(theirs[:, None]) - both


def _pairs(labels: np.ndarray[Any, Any]) -> int:
    counts = np.unique(labels, axis=0, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=ROWS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=("as", "given"), help="datatrove as it is shipped, or given our words")
    given = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit("the rows are made of ../shared/data, which is not here")
    with tempfile.TemporaryDirectory() as scratch:
        for words, language in (("as it is shipped", "ara_Arab"), ("given our words, cut already", None)):
            if given.only is None or given.only == words.partition(" ")[0]:
                found = compare(given.work or Path(scratch), given.rows, given.workers, language=language)
                print(
                    f"{found.rows:,} rows: {found.ours:.1f} s, datatrove {words} {found.peer:.1f} s, "
                    f"ratio {found.peer / found.ours:.1f}; pairs found by both {found.both:,}, by us alone "
                    f"{found.only_ours:,}, by it alone {found.only_peer:,}; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
