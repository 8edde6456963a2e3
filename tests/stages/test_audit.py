"""The sheet for two readers, and what is computed from it."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hala_release.bundle import Bundle, seal
from hala_release.errors import ConfigError
from hala_release.manifest import Provenance
from hala_release.payload.parquet import dataset_facts
from pipeline import rows
from pipeline.audit import ANSWERS, CATEGORIES, COLUMNS, Table, agreement, as_csv, kappa, main, read_sheet, sheet
from pipeline.rows import DROPPED, Row, Target, Turn, dropped, new_row

SIZES = {"large": 300, "middle": 90, "small": 3}
TRICKS = ("=1+1", "+1", "-1", "@cmd", "\t=1", "\n@x", "＝1", "|calc")


def made(source: str, number: int) -> Row:
    text = TRICKS[number] if source == "large" and number < len(TRICKS) else f'سطر «{number}»; "نعم",\nوسطر'
    turns = [Turn(role="user", text="Tell me."), Turn(role="assistant", text=f"Line {number} of {source}.")]
    target = [Target(text=text, finish_reason="stop"), Target(text=f"{text}\x00", finish_reason="stop")]
    return new_row(source, "0" * 40, number, "cc0-1.0", turns, target)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("audited")
    every = [made(source, number) for source, size in SIZES.items() for number in range(size)]
    for shard in range(2):
        with rows.writing_rows(str(root / "files/data"), shard, 2) as write:
            for row in every[shard::2]:
                write(row)
        with rows.writing_rows(str(root / "files/dropped"), shard, 2, DROPPED) as write:
            for number in range(shard, 40, 2):
                write(dropped(made("refused", number), ("S7", "R2")[number % 2], "a reason"))
    return sealed(root)


def sealed(root: Path) -> Bundle:
    files = root / "files"
    facts = dataset_facts(files, sorted(path.relative_to(files).as_posix() for path in files.rglob("*.parquet")))
    provenance = Provenance(stage="filter", config={}, inputs=(), tools={})
    return seal(root, name="filter", facts=facts, provenance=provenance, digests={})


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def test_a_sheet_has_so_many_rows_from_every_source_its_share(bundle: Bundle, tmp_path: Path) -> None:
    assert main(["sheet", str(bundle.root), "--rows", "60", "--out", str(tmp_path / "sheet.csv")]) == 0
    found = lines(tmp_path / "sheet.csv")
    assert len(found) == len({line["id"] for line in found}) == 60
    by_source = {source: sum(line["id"].startswith(source) for line in found) for source in SIZES}
    assert by_source == {"large": 46, "middle": 13, "small": 1}
    assert list(found[0]) == list(COLUMNS)
    assert all(line[column] == "" for line in found for column in ANSWERS)
    assert not (tmp_path / "sheet.key.csv").exists()


def test_the_draw_depends_on_the_seed_only(bundle: Bundle) -> None:
    first = [pick.row["id"] for pick in sheet(bundle, 50, 10, 1).picks]
    assert first == [pick.row["id"] for pick in sheet(bundle, 50, 10, 1).picks]
    assert first != [pick.row["id"] for pick in sheet(bundle, 50, 10, 2).picks]
    assert {pick.row["id"] for pick in sheet(bundle, 1000, 0, 1).picks} == {
        made(source, number)["id"] for source, size in SIZES.items() for number in range(size)
    }


def test_dropped_rows_are_mixed_in_and_named_in_the_key_only(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "sheet.csv"
    assert main(["sheet", str(bundle.root), "--rows", "30", "--dropped", "20", "--out", str(out)]) == 0
    key = {line["id"]: line["rule"] for line in lines(tmp_path / "sheet.key.csv")}
    order = [bool(key[line["id"]]) for line in lines(out)]
    assert sum(order) == 20
    assert len(order) == 50
    assert order != sorted(order)
    assert "S7" not in out.read_text(encoding="utf-8-sig")


def test_dropped_rows_that_are_kept_cut_are_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = [made("kept", number) for number in range(3)]
    out = [made("refused", number) for number in range(6)]
    out[0]["turns"][1]["text"] = "a" * 9_000
    out[1]["target"] = [Target(text="ا" * 4_000, finish_reason="stop")] * 2
    out[2]["target"] = None
    out[3]["turns"][1]["text"] = "a" * 3_999
    with rows.writing_rows(str(tmp_path / "files/data"), 0, 1) as write:
        for row in every:
            write(row)
    with rows.writing_rows(str(tmp_path / "files/dropped"), 0, 1, DROPPED) as write:
        for row in out:
            write(dropped(row, "S7", "a reason"))
    bundle = sealed(tmp_path)
    assert main(["sheet", str(bundle.root), "--dropped", "6", "--out", str(tmp_path / "sheet.csv")]) == 0
    assert {line["id"] for line in lines(tmp_path / "sheet.csv")} == {row["id"] for row in (*every, *out[2:])}
    assert "4 dropped rows are in the sheet; 2 were left out" in capsys.readouterr().out


def test_spreadsheets_read_arabic_and_run_nothing(bundle: Bundle, tmp_path: Path) -> None:
    main(["sheet", str(bundle.root), "--rows", "393", "--out", str(tmp_path / "sheet.csv")])
    data = (tmp_path / "sheet.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert b"\x00" not in data
    cells = [cell for line in lines(tmp_path / "sheet.csv") for cell in line.values()]
    assert len(cells) == 393 * len(COLUMNS)
    assert not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@＝|")]
    for trick in TRICKS:
        (line,) = csv.reader(io.StringIO(as_csv(["a"], [[trick]]).decode("utf-8-sig").split("\r\n", 1)[1], newline=""))
        assert line[0].startswith("'")
    assert as_csv(["a"], [["سطر = 1"]]).decode("utf-8-sig").endswith('"سطر = 1"\r\n')


def filled(path: Path, answers: list[tuple[str, str, str, str]], separator: str = ",") -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(COLUMNS)
        for number, line in enumerate(answers):
            writer.writerow([f"row-{number}", "source", "هدف", *line, "a, comment; here"])
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_answers_are_read_as_people_write_them(tmp_path: Path, separator: str) -> None:
    path = filled(tmp_path / "a.csv", [("5", "٤", "نعم", "None"), ("3.0", "", "No", "")], separator)
    assert read_sheet(path) == {
        "row-0": dict(zip(ANSWERS, ("5", "4", "yes", "none", "a, comment; here"), strict=True)),
        "row-1": dict(zip(ANSWERS, ("3", "", "no", "", "a, comment; here"), strict=True)),
    }


def test_answers_that_cannot_be_counted_are_all_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.csv", [("6", "4", "maybe", "none"), ("1", "1", "no", "odd")])
    with pytest.raises(ConfigError) as error:
        read_sheet(path)
    for problem in ("row-0: adequacy 1-5 is '6'", "row-0: format ok is 'maybe'", "row-1: error category 'odd'"):
        assert problem in str(error.value)
    path.write_text("id,comment\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no column adequacy"):
        read_sheet(path)


def test_kappa_is_that_of_the_books() -> None:
    # Cohen 1960's kind of table: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no; kappa = 0.4
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert kappa(first, second, 2, weighted=False) == pytest.approx(0.4)
    assert kappa(first, second, 2, weighted=True) == pytest.approx(0.4)
    assert kappa([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 5, weighted=True) == 1
    assert kappa([0, 4], [4, 0], 5, weighted=True) == pytest.approx(-1)
    assert kappa([0, 1, 2], [1, 2, 3], 5, weighted=True) > kappa([0, 1, 2], [1, 2, 3], 5, weighted=False)
    # The pairs are 2 apart in all; by chance, each answer of one meets each answer of the other a quarter of a time.
    by_chance = sum((one - other) ** 2 for one in (0, 1, 2, 2) for other in (0, 0, 1, 2)) / 4
    assert kappa([0, 1, 2, 2], [0, 0, 1, 2], 3, weighted=True) == pytest.approx(1 - 2 / by_chance)
    assert math.isnan(kappa([1, 1], [1, 1], 2, weighted=False))


def table(answers: list[tuple[str, str, str, str]]) -> Table:
    return {f"row-{number}": dict(zip(ANSWERS, (*line, ""), strict=True)) for number, line in enumerate(answers)}


def test_agreement_tells_raw_kappa_interval_and_categories() -> None:
    first = table([("5", "5", "yes", "none")] * 40 + [("2", "3", "no", "omission")] * 10)
    second = table([("5", "4", "yes", "none")] * 38 + [("3", "3", "no", "omission")] * 12)
    report = agreement(first, second)
    adequacy = report["agreement"]["adequacy 1-5"]
    assert adequacy["rows"] == 50
    assert adequacy["raw"] == 38 / 50
    low, high = adequacy["kappa_95"]
    assert -1 <= low < adequacy["kappa"] < high <= 1
    assert adequacy["kappa_weights"] == "quadratic"
    assert adequacy["mean"] == {"first": 4.4, "second": 4.52}
    assert report["agreement"]["format ok"]["raw"] == 48 / 50
    assert report["categories"]["omission"] == {"first": 10, "second": 12}
    assert set(report["categories"]) == set(CATEGORIES)
    assert report == agreement(first, second)


def test_precision_and_recall_of_the_rules_are_computed_from_what_both_readers_say() -> None:
    good, bad = ("5", "5", "yes", "none"), ("1", "2", "yes", "mistranslation")
    first = table([bad] * 8 + [good] * 2 + [bad] * 4 + [good] * 16)
    second = table([bad] * 8 + [good] * 2 + [bad] * 4 + [good] * 15 + [bad])
    key = {f"row-{number}": ("S7" if number < 5 else "R2") if number < 10 else "" for number in range(30)}
    rules = agreement(first, second, key)["rules"]
    assert rules["rows"] == 29
    assert rules["readers_differ"] == 1
    assert rules["precision"]["value"] == 0.8
    assert rules["recall_in_sheet"]["value"] == round(8 / 12, 4)
    low, high = rules["precision"]["interval_95"]
    assert 0 <= low < 0.8 < high <= 1
    assert rules["by_rule"] == {"R2": {"dropped": 5, "bad": 3}, "S7": {"dropped": 5, "bad": 5}}


def test_two_sheets_become_a_report(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "sheet.csv"
    main(["sheet", str(bundle.root), "--rows", "30", "--dropped", "20", "--out", str(out)])
    for name in ("a", "b"):
        found = lines(out)
        for number, line in enumerate(found):
            good = number % 5 > 0
            answers = ("4" if good else "2", "5", "yes", "none" if good else "grammar", "")
            line.update(zip(ANSWERS, answers, strict=True))
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter=";")
            writer.writeheader()
            writer.writerows(found)
    arguments = ["agreement", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(tmp_path / "audit.json")]
    assert main([*arguments, "--key", str(tmp_path / "sheet.key.csv")]) == 0
    report = json.loads((tmp_path / "audit.json").read_bytes())
    assert report["rows"] == {"first": 50, "second": 50, "both": 50}
    assert report["agreement"]["adequacy 1-5"]["kappa"] == 1
    assert report["agreement"]["fluency 1-5"]["kappa"] is None
    assert report["rules"]["rows"] == 50


def test_a_mistake_ends_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["agreement", str(tmp_path / "no.csv"), str(tmp_path / "no.csv"), "--out", str(tmp_path / "audit.json")]
    )
    assert code == 2
    assert "fix: " in capsys.readouterr().err


def test_files_that_are_no_sheets_end_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = filled(tmp_path / "a.csv", [("5", "5", "yes", "none")])
    long = filled(tmp_path / "long.csv", [("5", "5", "yes", "none"), ("5", "5", "yes", "x" * 200_000)])
    end = ["--out", str(tmp_path / "audit.json")]
    for arguments, said in (
        ([str(good), str(good), "--key", str(tmp_path / "missing.csv")], "missing.csv cannot be read"),
        ([str(good), str(good), "--key", str(good)], "has no column rule"),
        ([str(good), str(long)], "long.csv, after line 2: field larger than field limit"),
        ([str(good), str(good), "--key", str(long)], "has no column rule"),
    ):
        assert main(["agreement", *arguments, *end]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "fix: " in err
    assert not (tmp_path / "audit.json").exists()


def test_a_packed_bundle_is_answered_with_the_stage_to_take_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files/data").mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "messages": ["b"]}), tmp_path / "files/data/train-00000-of-00001.parquet")
    assert main(["sheet", str(sealed(tmp_path).root), "--out", str(tmp_path / "sheet.csv")]) == 3
    err = capsys.readouterr().err
    assert "does not hold rows" in err
    assert "fix: give the bundle of `filter`, or of another stage before `pack`" in err
