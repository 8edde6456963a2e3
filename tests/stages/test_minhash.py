"""Signatures are those of datatrove, duplicates are found as often as theory says, and folding is the project's."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from datatrove.pipeline.dedup.minhash import MinhashConfig
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import minhash, words
from pipeline.minhash import MinHash
from pipeline.text.arabic import fold
from tests.bench.dedup import PLAIN, Signature
from tests.stages.planted import sentence

HOW = MinHash()


def signed(texts: list[str], how: MinHash = HOW) -> words.Hashes:
    found = words.folded(pa.array(texts, pa.string()), "words")
    first = np.arange(len(texts) + 1)
    return minhash.signatures(found, first, np.ones(len(texts), dtype=bool), how)


@pytest.mark.parametrize("how", [HOW, MinHash(ngram=3, bands=5, hashes=4, seed=7)])
def test_signatures_are_those_of_datatrove_bit_by_bit(how: MinHash, tmp_path: object) -> None:
    pick = random.Random(0)
    texts = [sentence(pick, pick.randrange(80)) for _ in range(200)]
    texts += ["", "كلمة", "Plain English words, with: punctuation! And 1,234 numbers.", "same " * 500]
    peer = Signature(
        str(tmp_path),
        MinhashConfig(
            n_grams=how.ngram, num_buckets=how.bands, hashes_per_bucket=how.hashes, seed=how.seed, norm_config=PLAIN
        ),
        None,
    )
    checked = 0
    for text, mine in zip(texts, signed(texts, how), strict=True):
        shingles = peer.get_shingles(words.fold_text(text, "words"))
        if len(shingles):
            assert [value for band in peer.get_signature(shingles) for value in band] == mine.tolist()
            checked += 1
        else:
            assert set(mine.tolist()) == {2**64 - 1}
    assert checked > 150


def test_hashes_are_those_of_xxhash_at_every_length() -> None:
    data = random.Random(0).randbytes(300)
    array = np.frombuffer(data, np.uint8)
    for length in range(260):
        assert words.xxh64(array, 3, 3 + length) == xxhash.xxh64_intdigest(data[3 : 3 + length])


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_near_duplicates_are_found_as_often_as_theory_says(similarity: float) -> None:
    pick = random.Random(similarity)
    count, length = 1_500, 200
    shingles = length - HOW.ngram + 1
    fresh = round(shingles * (1 - similarity) / (1 + similarity))
    truth = (shingles - fresh) / (shingles + fresh)
    one = [[str(pick.getrandbits(60)) for _ in range(length)] for _ in range(count)]
    other = [[*text[: length - fresh], *(str(pick.getrandbits(60)) for _ in range(fresh))] for text in one]
    keys, _ = minhash.band_keys(signed([" ".join(text) for text in [*one, *other]]), HOW)
    found = float((keys[:count] == keys[count:]).any(axis=1).mean())
    expected = 1 - (1 - truth**HOW.hashes) ** HOW.bands
    assert abs(found - expected) < 4 * (expected * (1 - expected) / count) ** 0.5 + 1e-3


def test_shingles_do_not_go_over_a_text_that_does_not_count() -> None:
    texts = ["one two three four", "left out here", "five six seven eight", "one two three four five six seven eight"]
    found = words.folded(pa.array(texts), "words")
    used = np.array([True, False, True, True])
    apart, together = minhash.signatures(found, np.array([0, 3, 4]), used, HOW)
    assert set(apart.tolist()) == {2**64 - 1}
    assert set(together.tolist()) != {2**64 - 1}


ARABIC = st.text(
    st.one_of(
        st.sampled_from("أإآٱاىيةهـكگیپ٠١٢۳۴ًٌٍَُِّْٰ،؛؟ﷺﻻﺎ\u200c\u200d\u200f\ufeff \n\t\x00\x0b.,:!-_«»"),
        st.characters(min_codepoint=32, max_codepoint=0x24FF),
        st.characters(),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(ARABIC)
def test_exact_folding_is_that_of_the_project_but_for_composition(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # no file holds half a character
    text = "".join(one for one in text if ord(one) < words.TABLED)  # what lies above is left as it is
    # One letter at a time it cannot be composed, so both are compared taken apart.
    apart = "".join(fold(f"0{one}0")[1:-1] if not one.isspace() else " " for one in text)
    assert words.fold_text(text, "exact") == " ".join(unicodedata.normalize("NFD", apart).split()) or any(
        unicodedata.combining(one) for one in text
    )
    assert words.fold_text(unicodedata.normalize("NFC", text), "exact").replace(" ", "") == unicodedata.normalize(
        "NFD", fold(text)
    ).replace(" ", "") or any(unicodedata.combining(one) or ord(one) > 0xFFFF for one in text)


@settings(max_examples=200, deadline=None)
@given(ARABIC)
def test_folding_to_words_is_stable_and_keeps_letters_and_numbers_only(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    once = words.fold_text(text, "words")
    assert words.fold_text(once, "words") == once
    assert all(one == " " or unicodedata.category(one)[0] in "LNM" or ord(one) >= words.TABLED for one in once)
    assert once == " ".join(once.split(" ")).strip()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("السَّلامُ عليكم", "السلام عليكم"),
        ("كتـــاب أحمد", "كتاب احمد"),
        ("عام ٢٠٢٤", "عام 2024"),
        ("ﻛﺘﺎﺏ", "كتاب"),
        ("Café, please!", "cafe please"),
        ("مدرسة\u200f  كبيرة\n", "مدرسه كبيره"),
    ],
)
def test_spellings_of_one_text_are_one_in_words(one: str, other: str) -> None:
    assert words.fold_text(one, "words") == words.fold_text(other, "words")


def test_broken_and_endless_bytes_are_read_to_their_end() -> None:
    pieces = [b"\xff\xfe", b"abc\xd8", b"\xe2\x82", b"\xf0\x9f\x98", b"", bytes(range(256)), b"\x80" * 1000]
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int32)
    values = pa.StringArray.from_buffers(len(pieces), pa.py_buffer(offsets), pa.py_buffer(b"".join(pieces)))
    assert len(words.folded(values, "words").starts) == len(pieces)
    long = words.folded(pa.array(["ﷺ" * 100_000, "ا" * 5_000_000]), "words")
    assert long.ends[0] > 2_000_000
    assert set(signed(["كلمة واحدة " * 500_000])[0].tolist()) != {2**64 - 1}
