"""Each rule on rows that it must catch, on near misses, and on human pairs that it must leave alone."""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
from datatrove.utils.word_tokenizers import WordTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from hala_release.errors import ConfigError
from pipeline.filter import FilterConfig, kept
from pipeline.quality import ADDRESS
from pipeline.rows import Row, Target, Turn, Verdict, new_row
from pipeline.rules import counting, structure
from pipeline.rules.counting import Count, Sign, Vocabulary
from pipeline.rules.table import REPAIR_ORDER, RULES, TABLE, Judge, Judged, Rules
from pipeline.stage import load
from pipeline.text import arabic
from pipeline.text.markup import spans
from tests.bench import filter as bench_filter

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA = ROOT / "../shared/data"
EXAMPLES = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in (HERE / "data/rules").glob("*.jsonl")}
CASES = [(rule, number) for rule in sorted(EXAMPLES) for number in range(len(EXAMPLES[rule]))]
QUESTION = ("Tell me about it.", "أخبرني عن ذلك.")
ANSWER = ("It is so.", "هو كذلك.")


@cache
def judge() -> Judge:
    return Judge(Rules())


def one_row(example: dict[str, Any]) -> Row:
    """Make the row that a line of the examples describes."""
    if "turns" in example:
        turns = [Turn(role=role, text=text) for role, text in example["turns"]]
        found = example["targets"]
        target = None if found is None else [Target(text=text, finish_reason="stop") for text in found]
        return new_row("examples", "0" * 40, 0, "cc0-1.0", turns, target)
    times = example.get("times", 1)
    pair = (example["source"] * times, example["target"] * times)
    user = example.get("role") == "user"
    question, answer = (pair, ANSWER) if user else ((example.get("asked", QUESTION[0]), QUESTION[1]), pair)
    row = new_row(
        "examples",
        "0" * 40,
        0,
        "cc0-1.0",
        [Turn(role="user", text=question[0]), Turn(role="assistant", text=answer[0])],
        [
            Target(text=question[1], finish_reason="stop"),
            Target(text=answer[1], finish_reason=example.get("finish", "stop")),
        ],
    )
    if said := example.get("verdict"):
        row["verdict"] = Verdict(accept=said["accept"], reason=said["reason"])
    return row


def judged(example: dict[str, Any]) -> Judged:
    return judge().judge([one_row(example)])[0][0]


def test_every_rule_has_examples_that_hit_and_near_misses() -> None:
    assert set(EXAMPLES) == set(RULES) == {rule.id for rule in TABLE}
    assert len(TABLE) >= 31
    for rule, lines in EXAMPLES.items():
        hits = Counter(json.loads(line)["hit"] for line in lines)
        assert hits[True] >= 3, rule
        assert hits[False] >= 3, rule


@pytest.mark.parametrize(("rule", "number"), [case for case in CASES if case[0] != "C2"])
def test_a_rule_catches_its_defect_and_leaves_the_near_miss(rule: str, number: int) -> None:
    example = json.loads(EXAMPLES[rule][number])
    result = judged(example)
    found = {one.rule: one for one in result.found}
    assert (rule in found) == example["hit"], found
    if not example["hit"]:
        return
    assert found[rule].action == example.get("action", judge().rules.model_dump()[rule]["action"])
    assert found[rule].reason or found[rule].action == "repair" or rule == "Q2"
    if "after" in example:
        turn = 0 if example.get("role") == "user" else 1
        assert (result.target or [])[turn]["text"] == example["after"]
        assert rule in {mend.rule for mend in result.mends}
    else:
        assert all(mend.rule != rule for mend in result.mends) or found[rule].action != "repair"


@pytest.mark.parametrize("number", range(len(EXAMPLES["C2"])))
def test_forms_of_address_are_counted(number: int) -> None:
    example = json.loads(EXAMPLES["C2"][number])
    _, batch = judge().judge([one_row(example)])
    counted = {name: int(batch.target[0, column]) for name, column in ADDRESS.items()}
    assert {name: times for name, times in counted.items() if times} == example["forms"]


def test_rows_are_judged_alone_whatever_lies_beside_them() -> None:
    rows = [one_row(json.loads(EXAMPLES[rule][number])) for rule, number in CASES if rule not in ("S0", "R3")]
    together, _ = judge().judge(rows)
    for row, one in zip(rows, together, strict=True):
        assert judge().judge([row])[0][0] == one
    assert len(rows) > 200
    assert together == judge().judge(rows)[0]


def test_a_row_is_dropped_by_the_first_rule_in_the_table_and_judged_by_all() -> None:
    row = one_row({"source": "Read https://example.org now, \x00 my friend.", "target": "اقرأ <|im_end|> الآن."})
    result = judge().judge([row])[0][0]
    assert [one.rule for one in result.found] == ["S4", "S7", "O3"]
    assert result.dropped is not None
    assert result.dropped.rule == "S4"


def test_the_yaml_says_what_the_code_says() -> None:
    config = load(ROOT / "pipeline/configs/filter/default.yaml", FilterConfig, {})
    assert config == FilterConfig()
    written = (ROOT / "pipeline/configs/filter/default.yaml").read_text(encoding="utf-8")
    for rule in TABLE:
        block = re.search(rf"^  {rule.id}:(.*(?:\n    .*)*)", written, re.MULTILINE)
        assert block, rule.id
        for field in rule.limits.model_fields:
            value = getattr(rule.limits(), field)
            if field not in ("enabled", "names") and isinstance(value, int | float | dict):
                assert f"{field}:" in block[1], (rule.id, field)


@pytest.mark.parametrize("action", ["flag", "drop"])
def test_a_repair_that_is_turned_off_still_finds(action: str) -> None:
    other = Judge(Rules(**{rule: {"action": action} for rule in REPAIR_ORDER}))
    tried = 0
    for rule in REPAIR_ORDER:
        for line in EXAMPLES[rule]:
            example = json.loads(line)
            if example["hit"]:
                result = other.judge([one_row(example)])[0][0]
                assert {one.rule: one.action for one in result.found}.get(rule) == action, (rule, example)
                assert result.target == one_row(example)["target"]
                tried += 1
    assert tried >= 12


def test_a_rule_that_is_turned_off_finds_nothing() -> None:
    off = Judge(Rules(**{rule.id: {"enabled": False} for rule in TABLE if rule.id not in ("S0", "S1")}))
    rows = [one_row(json.loads(EXAMPLES[rule][number])) for rule, number in CASES if rule not in ("S0", "S1")]
    assert not [one for result in off.judge(rows)[0] for one in result.found]


@pytest.mark.parametrize("rule", ["S0", "S1"])
@pytest.mark.parametrize("limits", [{"enabled": False}, {"action": "flag"}, {"action": "report"}])
def test_rows_that_no_other_rule_can_read_are_always_dropped(rule: str, limits: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(json.dumps({"rules": {rule: limits}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"line 1: rules\.{rule}\.{next(iter(limits))}: no other rule can read"):
        load(path, FilterConfig, {})
    path.write_text(json.dumps({"rules": {rule: {"action": "drop", "enabled": True}}}), encoding="utf-8")
    assert load(path, FilterConfig, {}) == FilterConfig()


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}"), ('{"%s":' % ("a" * 150), "}")])
def test_deep_json_in_a_fence_is_compared_key_by_key(side: str, opens: str, closes: str) -> None:
    deep = f"```json\n{opens * 1_000}1{closes * 1_000}\n```"
    texts = {"source": "Read it.", "target": "اقرأه."}
    texts[side] += f"\n{deep}"
    found = {one.rule: one for one in judged(texts).found}
    assert found["S2"].action == "drop"
    assert ("S5" in found) == (opens != "[")


def test_keys_below_a_long_path_take_no_more_room_than_the_text() -> None:
    inside = ",".join(f'"{number}":1' for number in range(10_000))
    keys = list(structure._keys(json.loads(f'{{"{"k" * 100_000}":{{{inside}}}}}')))
    assert len(set(keys)) == 10_001
    assert sum(map(len, keys)) < 100_000 + 10_000 * 100
    one, other = (list(structure._keys({"k" * size: {"a": 1}})) for size in (1_000, 1_001))
    assert one[1] != other[1]


def test_a_repair_needs_no_character_that_the_text_does_not_have() -> None:
    private = "".join(map(chr, range(0xE000, 0xF900)))
    target = f"اقرأ \ue000`x`\ue001\ue000\ue002 {private}`y` الکتـاب."
    result = judged({"source": "Read `x` and `y`.", "target": target})
    assert (result.target or [])[1]["text"] == target.replace("الکتـاب", "الكتاب")
    assert [mend.rule for mend in result.mends] == ["O1", "G4"]


def test_a_kept_row_has_the_repaired_target() -> None:
    every = [one_row(json.loads(EXAMPLES[rule][number])) for rule, number in CASES if rule not in ("S0", "S1")]
    tried = 0
    for result in judge().judge(every)[0]:
        row = kept(result)
        assert row["target"] == result.target
        if result.mends:
            assert row["target"] != result.row["target"]
            assert row["repairs"]
            tried += 1
        else:
            assert row["target"] == result.row["target"]
    assert tried >= 12


def test_a_text_in_another_language_is_not_half_mended() -> None:
    urdu = json.loads(EXAMPLES["G3"][1])
    result = judged(urdu)
    assert not result.mends
    assert {one.rule for one in result.found} >= {"G3", "G4"}
    assert judged({"source": "A book.", "target": "کتاب قوی"}).target[1]["text"] == "كتاب قوی"  # type: ignore[index]


def test_a_farsi_yeh_that_could_be_either_is_flagged_however_long_the_text() -> None:
    target = "قال إن الخبز في الفرن. " * 40
    assert "G4" not in {one.rule for one in judged({"source": "He says it.", "target": target}).found}
    found = {one.rule: one for one in judged({"source": "He says it.", "target": f"{target}قوی"}).found}
    assert (found["G4"].action, found["G4"].reason) == ("flag", "a Farsi yeh is left")


ARABIC = st.text(
    st.sampled_from(
        'ابتةىيكلهمن گپچی ک١٢٣123٫،؟.!:\n «»"ـًّٔٓ\u200b\u200c\u200d\u200f\ufeff`$<>[]{}%@/\\|aTn'
        "\U0001f468ﻣﷲ\ue000\ue001\ue002"
    ),
    max_size=60,
)


@given(ARABIC, st.sampled_from(["Say it.", "Certainly! Say it.", "Say `x` at https://example.org."]))
@settings(max_examples=300, deadline=None)
def test_a_repaired_text_is_a_fixed_point_and_masks_come_back(text: str, source: str) -> None:
    first = judge().judge([one_row({"source": source, "target": text})])[0][0]
    if first.target is None or any(one.rule in ("S0", "S1") for one in first.found):
        return
    mended = first.target[1]["text"]
    second = judge().judge([one_row({"source": source, "target": mended})])[0][0]
    assert second.target is None or second.target[1]["text"] == mended
    assert not second.mends
    if not first.mends:
        assert mended == text


@given(ARABIC)
@settings(max_examples=300, deadline=None)
def test_a_text_without_a_sign_has_nothing_to_find(text: str) -> None:
    sign = int(counting.signs(*counting.points_of([text]))[0])
    if not sign & Sign.MARKUP:
        assert not spans(text)
    if not sign & Sign.UNCLEAN:
        assert arabic.clean(text) == text
    if not sign & Sign.FOREIGN:
        assert arabic.arabic_letters(text) == text
    if not (sign & Sign.EASTERN and sign & Sign.EUROPEAN):
        assert not arabic.mixes_digits(text)


@given(st.text(max_size=40))
@settings(max_examples=500, deadline=None)
def test_signs_hold_for_every_script(text: str) -> None:
    sign = int(counting.signs(*counting.points_of([text]))[0])
    assert sign & Sign.UNCLEAN or arabic.clean(text) == text
    assert sign & Sign.MARKUP or not spans(text)


def test_every_character_that_is_not_composed_is_unclean() -> None:
    swept = 0
    for point in range(0x110000):
        if not 0xD800 <= point < 0xE000 and not unicodedata.is_normalized("NFC", chr(point)):
            assert counting.signs(*counting.points_of([chr(point)]))[0] & Sign.UNCLEAN, hex(point)
            swept += 1
    assert swept > 1000


_ONE = {"ends_with": ["user"]}


class OurWords(WordTokenizer):
    """Our words, for datatrove's filter."""

    def word_tokenize(self, text: str) -> list[str]:
        return counting.tokens(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def gopher_texts() -> Iterator[str]:
    sentences = [target for _, target in bench_filter.SENTENCES]
    yield from sentences
    for size in (2, 5, 30):
        for step in range(1, 7):
            yield " ".join(sentences[(number * step) % 6] for number in range(size))
            yield "\n".join(sentences[(number * step) % min(6, 1 + step)] for number in range(size))
            yield "\n\n".join(sentences[(number * number) % 6] for number in range(size))
    yield "\n\nا\n\nا\n"
    yield "ab c a bc " * 12
    yield "x"
    for row in human():
        yield row["turns"][0]["text"]
        yield (row["target"] or [])[0]["text"]


def test_repetition_decides_as_datatrove_does_on_the_same_words() -> None:
    limits = {
        "dup_para_frac": 0.3, "dup_para_char_frac": 0.2, "dup_line_frac": 0.304, "dup_line_char_frac": 0.2,
        "top_n_grams": {2: 0.197, 3: 0.172, 4: 0.146},
        "dup_n_grams": {5: 0.165, 6: 0.153, 7: 0.142, 8: 0.131, 9: 0.12, 10: 0.109},
    }  # fmt: skip
    peer = GopherRepetitionFilter(
        **{name: tuple(value.items()) if isinstance(value, dict) else value for name, value in limits.items()},
        language=OurWords(),
    )
    rules = {rule.id: {"enabled": rule.id in ("S0", "S1", "R1")} for rule in TABLE}
    ours = Judge(Rules(**{**rules, "R1": {**limits, "min_words": 0, "top_min_words": 0}, "S1": _ONE}))
    texts = [text for text in gopher_texts() if text.strip() and not spans(text)]
    reasons: Counter[str] = Counter()
    for start in range(0, len(texts), 500):
        some = texts[start : start + 500]
        results, _ = ours.judge([one_row({"turns": [["user", "Say it."]], "targets": [text]}) for text in some])
        for text, result in zip(some, results, strict=True):
            theirs = peer.filter(Document(text=text, id=""))
            reason = result.found[0].reason.rpartition(" ")[0] if result.found else None
            assert reason == (None if theirs is True else theirs[1]), text
            reasons[reason or "kept"] += 1
    assert reasons["kept"] >= 3
    assert {"dup_para_frac", "dup_line_frac", "top_2_gram", "duplicated_5_n_grams"} <= set(reasons)
    assert sum(reasons.values()) >= 60


def test_loops_are_those_of_opusfilter() -> None:
    pattern = re.compile(r"(\S.{2,99}?)(?: *\1){2,}")
    words = Vocabulary([[]])

    def loops(text: str) -> int:
        points, bounds = counting.points_of([text])
        return int(counting.counts(points, bounds, np.zeros((0, 3), np.int64), words)[0][0, Count.LOOP])

    texts = [text for text in gopher_texts() if "\n" not in text]
    texts += [
        f"بداية {unit * times}، نهاية"
        for unit in ("قال ", "من هنا ", "ab1", "abcabcx", "aab", "مساء الخير يا ")
        for times in range(1, 6)
    ]
    swept = Counter[bool]()
    for text in texts:
        plain = "".join(sign for sign in text if not unicodedata.category(sign).startswith("M"))
        theirs = next((found for found in pattern.finditer(plain) if re.search(r"[^\W\d_]", found[1])), None)
        if theirs:
            assert loops(text), text
        swept[bool(theirs)] += 1
        ours = loops(text)
        if ours and not theirs:
            assert pattern.search(re.sub(r"\s", "", plain)), text
    assert swept[True] >= 10
    assert swept[False] >= 10


@cache
def human() -> list[Row]:
    """Return a sample of human pairs: all of TICO-19, all paragraphs of XQuAD, and a share of the short ones."""
    if not DATA.is_dir():
        return []
    pairs: list[tuple[str, str, str]] = []
    for name, step in (
        ("pairs/tico19_dev.en-ar.jsonl", 1),
        ("pairs/tatoeba.en-ar.jsonl.gz", 40),
        ("pairs/ui_permissive.en-ar.jsonl.gz", 20),
        ("pairs/ui_libreoffice.en-ar.jsonl.gz", 20),
    ):
        pairs += [(name.partition(".")[0].rpartition("/")[2], one["en"], one["ar"]) for one in read(name)[::step]]
    paragraphs = {one["context_en"]: one["context_ar"] for one in read("ar_instructions/xquad_en_ar_dev.jsonl.gz")}
    pairs += [("xquad", source, target) for source, target in paragraphs.items()]
    return [
        new_row(
            name,
            "0" * 40,
            number,
            "various",
            [Turn(role="user", text=source)],
            [Target(text=target, finish_reason="stop")],
        )
        for number, (name, source, target) in enumerate(pairs)
    ]


def read(name: str) -> list[dict[str, Any]]:
    data = (DATA / name).read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()]


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there: human pairs to measure false drops with")
def test_human_pairs_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    rows = human()
    assert len(rows) >= 1000
    of_pairs = load(ROOT / "pipeline/configs/filter/default.yaml", FilterConfig, {"rules.S1.ends_with": ["user"]})
    results, _ = Judge(of_pairs.rules).judge(rows)
    found = Counter((one.rule, one.action) for result in results for one in result.found)
    lines = [
        f"{rule.id:3} " + "  ".join(f"{a} {found[rule.id, a] / len(rows):7.2%}" for a in ("drop", "flag", "repair"))
        for rule in TABLE
    ]
    with capsys.disabled():
        sys.stdout.write(f"\n{len(rows)} human pairs\n" + "\n".join(lines) + "\n")
    for rule in TABLE:
        assert found[rule.id, "drop"] / len(rows) <= 0.01, rule.id
    assert sum(result.dropped is not None for result in results) / len(rows) <= 0.02


HOSTILE = {
    "ten megabytes": "كلمة word " * 1_000_000,
    "control characters": "\x01\x02\x03 a" * 20_000,
    "NULs": "\x00" * 190_000,
    "open brackets": "[" * 1_000_000,
    "brackets that are read": "[{\"" * 33_000,
    "chat tokens": "<|im_start|>user\n" * 5_000,
    "nested fences": "".join("`" * (3 + number % 40) + "\nx\n" for number in range(4_000)),
    "backticks": "` `` ``` " * 12_000,
    "empty": "",
    "white space": " \n\t" * 60_000,
    "one letter": "ا" * 199_000,
    "one line of spaces": "a" + " " * 198_000 + "b",
    "newlines": "a\n\n" * 60_000,
    "quotes": "\"'" * 99_000,
    "stars of a comment": "`/*" * 60_000,
    "marks": "ا" + "\u064b" * 190_000,
    "tatweel": "ـ" * 190_000,
    "joiners": "\u200d" * 190_000,
    "no characters": "a\ufffe\U0010ffff" * 60_000,
    "how many": "how many in 5 words letter " * 7_000,
    "dollars": "$x $y " * 30_000,
    "leaks": "Note: translate source text language " * 5_000,
    "digits": "1" * 198_000,
    "commas": "1,000" * 30_000,
    "combining": "e" + "\u0301" * 100_000,
    "direction": "\u202e\u2066" * 90_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("side", ["source", "target", "both"])
def test_hostile_rows_are_dropped_with_a_reason_in_bounded_time(kind: str, side: str) -> None:
    text, other = HOSTILE[kind], "قال إن الخبز في الفرن."
    source = text if side != "target" else "He says the bread is in the oven."
    target = text if side != "source" else other
    judge()
    start = time.process_time()
    result = judge().judge([one_row({"source": source, "target": target, "role": "user"})])[0][0]
    assert time.process_time() - start < 2
    if side != "both" or kind not in {
        "one line of spaces",
        "dollars",
        "commas",
        "digits",
        "how many",
        "stars of a comment",
    }:
        assert result.dropped is not None, result
        assert result.dropped.reason
