"""Rows that hold items of a benchmark are dropped, others are not, and the report says which items, never a text."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import CommitOperationAdd, HfApi
from pydantic import ValidationError

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError
from hala_release.localhub import daemon
from pipeline import benchmarks, ngrams, tables
from pipeline.benchmarks import Benchmark, Item
from pipeline.decontaminate import STAGE, DecontaminateConfig
from pipeline.executor import Local
from pipeline.rows import Row
from pipeline.stage import load, run_stage
from tests.bench.road import SHARED
from tests.stages.planted import ROOT, bundle_of, killed_and_resumed, read, row, sentence

LONG = (
    "يسكن أحمد في بيت صغير قرب البحر ويخرج كل صباح ليصطاد السمك ثم يبيعه في سوق المدينة القديمة "
    "فإذا باع اليوم عشرين سمكة بثلاثة دنانير فكم دينارا ربح"
)
SHORT = "ما لون سماء المريخ نهارا؟"
ITEMS = [
    {"question": LONG, "A": "عشرين", "B": "ستين", "C": "مئة", "answer": "B"},
    {"question": SHORT, "A": "أ) أزرق غامق", "B": "ب) أحمر فاتح", "C": "ج) أخضر", "answer": "ب"},
    {"question": "أي هذه صحيح؟", "A": "نعم", "B": "لا", "C": "", "answer": "A"},
]
CLEAN = random.Random(9)


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    path = tmp_path / "benchmark.jsonl"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS), encoding="utf-8")
    return Benchmark(
        name="Market",
        language="ar",
        files=(str(path),),
        question=("question",),
        choices=("A", "B", "C"),
        answer="answer",
        answer_is="letter",
    )


def cleaned(tmp_path: Path, benchmark: Benchmark, shards: Sequence[Sequence[Row]], **config: Any) -> Bundle:  # noqa: ANN401
    given = DecontaminateConfig(
        **{"side": "target", "executor": Local(workers=1), **config, "benchmarks": (benchmark,)}
    )
    return run_stage(STAGE, given, {"rows": [bundle_of(tmp_path / "planted", shards)]}, tmp_path)


def planted(*arabic: str) -> Row:
    return row(0, *("text",) * len(arabic), arabic=arabic)


WORDS = LONG.split()
EDITED = " ".join([*WORDS[:15], "كلمتان", *WORDS[16:]])
FOUND = {
    "the whole item": planted(LONG, "ستين"),
    "spelled otherwise": planted(LONG.replace("أ", "ا").replace("ة", "ه").replace("سمكة", "سَمَكَةً") + "؟!", "لا أدري"),
    "a word changed": planted(EDITED, "ستين"),
    "more than half of it": planted(" ".join(WORDS[: len(WORDS) // 2 + 2]), "ستين"),
    "hidden in a long answer": planted("سؤال", f"{sentence(CLEAN, 300)} {LONG} {sentence(CLEAN, 300)}"),
    "over two turns": planted(" ".join(WORDS[:14]), " ".join(WORDS[14:])),
    "a short question with its answer": planted("أجب: " + SHORT, "لونها أحمر فاتح في النهار"),
}
LEFT = {
    "less than half of it": planted(" ".join(WORDS[: len(WORDS) // 2 - 1]), sentence(CLEAN, 50)),
    "its words in another order": planted(" ".join(sorted(WORDS)), "ستين"),
    "a short question with another answer": planted(SHORT, "أزرق غامق"),
    "the answer of a short question": planted("ما لون التفاح", "أحمر فاتح"),
    "an item too short to be looked for": planted("أي هذه صحيح؟", "نعم"),
    "other text": planted(sentence(CLEAN, 30), sentence(CLEAN, 200)),
    "nothing": planted("", ""),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_row_with_an_item_is_dropped(tmp_path: Path, benchmark: Benchmark, name: str) -> None:
    bundle = cleaned(tmp_path, benchmark, [[FOUND[name]]])
    (gone,) = read(bundle, "dropped")
    assert gone["rule"] == "contaminated"
    what = "test/1: question and answer" if "short" in name else "test/0: "
    assert gone["reason"].startswith(f"Market {what}")
    assert not read(bundle)


@pytest.mark.parametrize("name", LEFT)
def test_a_row_without_one_stays_as_it_is(tmp_path: Path, benchmark: Benchmark, name: str) -> None:
    bundle = cleaned(tmp_path, benchmark, [[LEFT[name]]])
    assert read(bundle) == [LEFT[name]]
    assert not read(bundle, "dropped")


def test_the_shares_are_those_of_the_words_covered(benchmark: Benchmark) -> None:
    index = ngrams.build([list(benchmarks.items(benchmark))], 8, 5)
    length = len(WORDS)
    for start, end in [(0, 8), (3, 14), (0, length), (length - 9, length)]:
        (hit,) = found_in(index, [" ".join(WORDS[start:end])], 0.0)
        assert hit.share == pytest.approx((end - start) / length)
    (hit,) = found_in(index, [" ".join(["غير", *WORDS[:9], "غير", *WORDS[10:19]])], 0.0)
    assert hit.share == pytest.approx(18 / length)


def found_in(index: ngrams.Index, texts: list[str], share: float) -> list[ngrams.Hit]:
    given = tables.Texts(pa.array(texts), np.zeros(len(texts), np.uint8), np.arange(len(texts) + 1))
    return list(ngrams.hits(index, given, share))


def test_found_is_what_a_plain_search_finds() -> None:
    pick = random.Random(1)
    few = sentence(pick, 12).split()
    items = [
        Item(f"test/{n}", " ".join(pick.choices(few, k=pick.randrange(1, 30))), " ".join(pick.choices(few, k=n % 3)))
        for n in range(60)
    ]
    index = ngrams.build([items[:20], items[20:]], 4, 3)
    texts = [" ".join(pick.choices(few, k=pick.randrange(40))) for _ in range(200)]
    found = {(hit.row, hit.item): hit.share for hit in found_in(index, texts, 0.3)}
    expected = {
        (number, place): share
        for number, text in enumerate(texts)
        for place, item in enumerate(items)
        if (share := plain_share(text.split(), item.question.split(), item.answer.split(), 4, 3)) > 0.3
    }
    assert found == pytest.approx(expected)
    assert len(expected) > 60


def plain_share(text: list[str], question: list[str], answer: list[str], ngram: int, least: int) -> float:
    def has(part: list[str]) -> bool:
        return any(text[place : place + len(part)] == part for place in range(len(text) - len(part) + 1))

    if len(question) < ngram:
        return float(len(question) + len(answer) >= least and bool(question) and has(question) and has(answer))
    covered = set()
    for place in range(len(question) - ngram + 1):
        if has(question[place : place + ngram]):
            covered |= set(range(place, place + ngram))
    return len(covered) / len(question)


def test_the_report_tells_what_was_hit_and_no_text(tmp_path: Path, benchmark: Benchmark) -> None:
    rows = [
        Row(**{**one, "id": f"x-{n}", "source": f"s{n % 2}"}) for n, one in enumerate([*FOUND.values(), *LEFT.values()])
    ]
    bundle = cleaned(tmp_path, benchmark, [rows[:4], rows[4:]])
    text = (bundle.files / "reports" / "contamination-target.json").read_text(encoding="utf-8")
    told = json.loads(text)
    assert told["rows"] == len(rows)
    assert told["rows_dropped"] == len(FOUND) == len(read(bundle, "dropped"))
    assert told["benchmarks"]["Market"] | {"files": None} == {
        "language": "ar",
        "dataset": None,
        "revision": None,
        "files": None,
        "items": 3,
        "items_short": 1,
        "items_not_looked_for": 1,
        "rows_dropped": len(FOUND),
        "items_hit": 2,
        "hits": {"test/0": len(FOUND) - 1, "test/1": 1},
    }
    assert [one["name"] for one in told["benchmarks"]["Market"]["files"]] == ["benchmark.jsonl"]
    assert len(told["index_sha256"]) == 64
    assert sum(one["dropped"] for one in told["sources"].values()) == len(FOUND)
    assert "السمك" not in text
    assert str(tmp_path) not in text


def test_the_english_side_is_searched_before_translation(tmp_path: Path) -> None:
    question = "Which of these animals lays eggs although it is a mammal that feeds its young with milk?"
    path = tmp_path / "english.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"q": question, "c": {"text": ["cow", "platypus"]}, "a": 1}).encode()))
    english = Benchmark(
        name="Animals",
        language="en",
        files=(str(path),),
        question=("q",),
        choices=("c.text",),
        answer="a",
        answer_is="index",
    )
    given = [row(0, question.upper(), "platypus"), row(1, "What lays eggs?", "A hen.")]
    bundle = cleaned(tmp_path, english, [given], side="source")
    assert [one["row"] for one in read(bundle)] == [1]
    assert (bundle.files / "reports" / "contamination-source.json").exists()
    assert not read(cleaned(tmp_path / "target", english, [given], side="target"), "dropped")


def test_a_benchmark_that_changed_is_another_question(tmp_path: Path, benchmark: Benchmark) -> None:
    config = DecontaminateConfig(side="target", benchmarks=(benchmark,))
    before = config.identity()
    moved = tmp_path / "elsewhere" / "benchmark.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(Path(benchmark.files[0]).read_bytes())
    there = benchmark.model_copy(update={"files": (str(moved),)})
    assert DecontaminateConfig(side="target", benchmarks=(there,)).identity() == before
    moved.write_bytes(moved.read_bytes() + b"\n")
    assert DecontaminateConfig(side="target", benchmarks=(there,)).identity() != before
    moved.unlink()
    with pytest.raises(ConfigError, match=r"Market: .*benchmark\.jsonl cannot be read"):
        DecontaminateConfig(side="target", benchmarks=(there,)).identity()


def test_columns_and_answers_of_many_shapes_are_read(tmp_path: Path) -> None:
    pq.write_table(
        pa.table(
            {
                "stem": ["s"],
                "options": [[{"label": "A", "text": "one"}]],
                "Option 1": ["(A) first"],
                "Option 2": ["second"],
            }
        ),
        tmp_path / "x.parquet",
    )
    shape: dict[str, Any] = {"name": "x", "language": "en", "files": (str(tmp_path / "x.parquet"),)}
    (item,) = benchmarks.items(Benchmark(**shape, question=("stem", "Option 2")))
    assert item == Item("test/0", "s\nsecond", "")
    with pytest.raises(ContractError, match="x has no column 'question'; it has stem"):
        list(benchmarks.items(Benchmark(**shape, question=("question",))))
    rows = [
        ({"q": "q", "c": ["a) x y", "b"], "k": key}, kind, expected)
        for key, kind, expected in [
            (0, "index", "x y"), ("1", "index", "b"), (-1, "index", ""), (9, "index", ""), ("A", "letter", "x y"),
            ("ب", "letter", "b"), ("2", "letter", "b"), ("", "letter", ""), (None, "letter", ""), ("b", "text", "b"),
        ]
    ]  # fmt: skip
    for given, kind, expected in rows:
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps(given) + "\n", encoding="utf-8")
        one = Benchmark(
            name="y", language="en", files=(str(path),), question=("q",), choices=("c", "d"), answer="k", answer_is=kind
        )
        assert [item.answer for item in benchmarks.items(one)] == [expected], given


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"files": ["a"], "dataset": "a/b", "revision": "main"},
        {"dataset": "a/b"},
        {"files": ["a"], "revision": "main"},
        {"files": ["a"], "answer_is": "index"},
    ],
)
def test_a_benchmark_from_nowhere_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Benchmark(**{"name": "x", "language": "en", "question": ["q"], **wrong})


def test_bytes_do_not_depend_on_workers_or_kills(tmp_path: Path, benchmark: Benchmark) -> None:
    rows = [*FOUND.values(), *LEFT.values()] * 40
    given = bundle_of(tmp_path / "planted", [rows[:100], rows[100:101], rows[101:]])
    found = {
        run_stage(
            STAGE,
            DecontaminateConfig(side="target", benchmarks=(benchmark,), executor=Local(workers=workers)),
            {"rows": [given]},
            tmp_path / str(workers),
        ).manifest_sha256
        for workers in (1, 2)
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"side": "target", "benchmarks": [benchmark.model_dump(mode="json")]}))
    command = ["pipeline", "decontaminate", str(config), "--from", str(given.root)]
    command += ["--set", "executor={kind: local, workers: 2}"]
    moments = ["*/*/work/ngrams/keys.npy", "*/*/files/data/*.parquet"]
    found.add(Bundle.open(Path(killed_and_resumed(command, tmp_path / "killed", moments))).manifest_sha256)
    assert len(found) == 1


def test_a_benchmark_comes_from_the_hub_at_its_revision(tmp_path: Path, embedded: daemon.Running) -> None:
    api = HfApi(endpoint=embedded.url, token=embedded.token)
    repo = "contamination/market"
    api.create_repo(repo, repo_type="dataset")
    folders = [
        {"config_name": name, "data_files": [{"split": "test", "path": f"{name}/*"}]} for name in ("easy", "hard")
    ]
    card = f"---\n{yaml.safe_dump({'configs': folders})}---\n".encode()
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo, repo_type="dataset")
    for version in (ITEMS, ITEMS[:1]):
        for folder in ("easy", "hard"):
            pq.write_table(pa.Table.from_pylist(version), tmp_path / "test.parquet")
            api.create_commit(
                repo,
                [CommitOperationAdd(f"{folder}/test-00000-of-00001.parquet", str(tmp_path / "test.parquet"))],
                commit_message="version",
                repo_type="dataset",
            )
    commits = [one.commit_id for one in api.list_repo_commits(repo, repo_type="dataset")]
    given = bundle_of(tmp_path / "planted", [list(FOUND.values())])
    benchmark = {
        "name": "Market",
        "language": "ar",
        "dataset": repo,
        "question": ["question"],
        "choices": ["A", "B", "C"],
        "answer": "answer",
        "answer_is": "letter",
    }
    for revision, items, dropped in [("main", 2, len(FOUND) - 1), (commits[2], 6, len(FOUND))]:
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump({"side": "target", "benchmarks": [{**benchmark, "revision": revision}]}))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pipeline", "decontaminate", str(config), "--from", str(given.root)),
                *("--out", str(tmp_path / "out"), "--set", "executor={kind: local, workers: 1}"),
            ],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "HF_ENDPOINT": embedded.url, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        told = json.loads((Path(done.stdout.strip()) / "files/reports/contamination-target.json").read_bytes())
        assert told["benchmarks"]["Market"]["items"] == items
        assert told["rows_dropped"] == dropped
        assert told["benchmarks"]["Market"]["revision"] == (commits[0] if revision == "main" else revision)
        assert all(name.startswith(("easy/test/", "hard/test/")) for name in told["benchmarks"]["Market"]["hits"])


@pytest.mark.parametrize("name", ["source", "target", "local"])
def test_the_configurations_load(name: str) -> None:
    config = load(ROOT / f"pipeline/configs/decontaminate/{name}.yaml", DecontaminateConfig, {})
    assert len(config.benchmarks) == {"source": 10, "target": 6, "local": 3}[name]


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_items_are_found_and_real_clean_text_is_left_alone() -> None:
    config = load(ROOT / "pipeline/configs/decontaminate/local.yaml", DecontaminateConfig, {})
    local = [
        one.model_copy(update={"files": tuple(str(ROOT / file) for file in one.files)}) for one in config.benchmarks
    ]
    items = [list(benchmarks.items(one)) for one in local]
    index = ngrams.build(items, config.ngram, config.short_words)
    every = [item for found in items for item in found]
    held = {hit.row for hit in found_in(index, [f"{item.question} {item.answer}" for item in every], config.share)}
    looked_for = set(np.flatnonzero(index.lengths).tolist())
    assert held >= looked_for
    assert len(looked_for) > 550
    clean = []
    for path, columns in [
        ("pairs/tatoeba.en-ar.jsonl.gz", ["ar"]),
        ("pairs/tico19_dev.en-ar.jsonl", ["ar"]),
        ("pairs/ui_permissive.en-ar.jsonl.gz", ["ar"]),
        ("pairs/ui_libreoffice.en-ar.jsonl.gz", ["ar"]),
        ("ar_instructions/arcd_train.jsonl.gz", ["context", "question"]),
        ("ar_instructions/xquad_en_ar_dev.jsonl.gz", ["context_ar", "question_ar", "answer_ar"]),
        ("ar_instructions/vicuna80_ar.jsonl", ["text"]),
    ]:
        opened = gzip.open if path.endswith(".gz") else open
        with opened(SHARED / path, "rt", encoding="utf-8") as lines:
            clean += ["\n".join(one[column] for column in columns) for one in map(json.loads, lines)]
    assert len(clean) > 30_000
    assert not found_in(index, clean, config.share)
