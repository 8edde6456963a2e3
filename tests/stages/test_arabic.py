"""Letters, marks and digits: what is mended, what is left, and what is folded for comparison."""

from __future__ import annotations

import inspect
import re
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import arabic

LETTERS = st.text(
    st.sampled_from('ابتةىيكلهمنأإآٱـًٌَُِّٰٓٔ \n\u200b\u200c\u200d\u200f\ufeff١٢12٫،«»"گکی👨\u200dﻣﷲﷺa'), max_size=40
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("مــرحــبا", "مرحبا"),
        ("1445 هـ.", "1445 هـ."),
        ("كلمة ـ كلمة", "كلمة - كلمة"),
        ("ـَ فتحة", "ـَ فتحة"),
        ("\ufeffنص\u200f\u202aآخر\u2069", "نصآخر"),
        ("می\u200cخواهم", "میخواهم"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("क्\u200dष", "क्\u200dष"),
        ("ﻣﺮﺣﺒﺎ ﷲ", "مرحبا الله"),
        ("صلى الله عليه وسلم ﷺ ﴿نص﴾", "صلى الله عليه وسلم ﷺ ﴿نص﴾"),
        ("\u0627\u0653خر", "آخر"),
        ("أحمد إلى آن على مدرسة", "أحمد إلى آن على مدرسة"),
        ("ضَعِ الحَرَكَاتِ", "ضَعِ الحَرَكَاتِ"),
    ],
)
def test_spelling_is_mended_and_letters_are_not_folded(text: str, cleaned: str) -> None:
    assert arabic.clean(text) == unicodedata.normalize("NFC", cleaned)


def test_persian_forms_become_arabic_ones_and_prepositions_keep_their_end() -> None:
    assert arabic.arabic_letters("ذهب علی الی البیت الکبیر حتی النهایة") == "ذهب على الى البيت الكبير حتى النهاية"
    assert arabic.arabic_letters("گاراژ پژو چاپ") == "گاراژ پژو چاپ"


@pytest.mark.parametrize(
    ("persian", "mended"),
    [
        ("معنی أعلی أخری موسیقی مستشفی", "معنى أعلى أخرى موسيقى مستشفى"),
        ("والموسیقی بمعنی للمستوی اعلی فحتی", "والموسيقى بمعنى للمستوى اعلى فحتى"),
        ("الکبری والصغری، ذکری سوی المدی لدی متی.", "الكبرى والصغرى، ذكرى سوى المدى لدى متى."),
        ("فی البیت الذی بنی هی التی کفی", "في البيت الذي بنی هي التي كفى"),
        ("الثانی والعربی والاقتصادی قانونی نهائی فعلی", "الثاني والعربي والاقتصادي قانوني نهائي فعلي"),
        ("سَیِّدِی شیء یَوم", "سَيِّدِی شيء يَوم"),
        ("عَلِیٌّ أَعلَیٰ هُدیً", "عَلِيٌّ أَعلَىٰ هُدىً"),
        ("قوی رأی نادی أولی بشری یتعافی کتابی", "قوی رأی نادی أولی بشری يتعافی كتابی"),
    ],
)
def test_a_final_farsi_yeh_becomes_what_the_word_ends_in_and_stays_where_both_are_words(
    persian: str, mended: str
) -> None:
    assert arabic.arabic_letters(persian) == mended


def test_the_words_that_end_in_one_yeh_do_not_end_in_the_other() -> None:
    lists = re.findall(r"= _ending\(\n(.*?)\n\)", inspect.getsource(arabic), re.DOTALL)
    words = set(re.findall(r"\w+[ىي]\b", " ".join(lists)))
    assert len(words) > 180
    for word in words:
        assert arabic.arabic_letters(f"{word[:-1]}ی") == word


def test_digits_become_european_with_their_separators() -> None:
    assert arabic.european_digits("٣٫١٤ و١٬٠٠٠ و۱۲ و٪٥") == "3.14 و1,000 و12 و٪5"
    assert arabic.mixes_digits("من ١٠ إلى 20")
    assert not arabic.mixes_digits("قال «١٢» عام 2020")
    assert not arabic.mixes_digits("١٠ و٢٠")


@given(LETTERS)
@settings(max_examples=500, deadline=None)
def test_what_is_mended_once_is_mended(text: str) -> None:
    for mend in (arabic.clean, arabic.arabic_letters, arabic.european_digits):
        assert mend(mend(text)) == mend(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("الْعَرَبِيَّةُ", "العربيه"),
        ("أحمد إلى آن", "احمد الي ان"),
        ("على", "علي"),
        ("مــرحبا", "مرحبا"),
        ("عام ١٩٩٠", "عام 1990"),
        ("  Hello \n\tWORLD ", "hello world"),
        ("کتاب ی", "كتاب ي"),
        ("ۓ", "ے"),
        ("\u0627\u0653خر", "اخر"),
        ("Straße", "STRASSE"),
    ],
)
def test_two_spellings_fold_to_one(one: str, other: str) -> None:
    assert arabic.fold(one) == arabic.fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("كتب", "كتاب"), ("سأل", "سئل"), ("مؤمن", "مومن"), ("10", "100"), ("a b", "ab")]
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert arabic.fold(one) != arabic.fold(other)


@given(st.lists(st.text(max_size=30) | LETTERS, max_size=6))
@settings(max_examples=300, deadline=None)
def test_many_texts_fold_as_one_does(texts: list[str]) -> None:
    folded = arabic.fold_all(texts)
    assert folded == [arabic.fold(text) for text in texts]
    assert all("  " not in text and text == text.strip(" ") for text in folded)


@pytest.mark.parametrize(
    "unit",
    [
        "ـ",
        "ی",
        "یَ",
        "ئ",
        "اوي",
        "\u064b",
        "\u200d",
        "\u0301",
        "ﷲ",
        "«",
        '"',
        "١1",
        "ا\u064b\u0651",
        "\ud800",
        "\U0010ffff",
    ],
)
def test_a_million_signs_are_read_in_bounded_time(unit: str) -> None:
    text = "ا" + unit * (1_000_000 // len(unit))
    start = time.process_time()
    arabic.clean(text)
    arabic.arabic_letters(text)
    arabic.mixes_digits(text)
    arabic.european_digits(text)
    arabic.fold(text)
    assert time.process_time() - start < 10
