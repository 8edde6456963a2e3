"""An index of the items of benchmarks by hashed word n-grams, and how much of them a row holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from pipeline.benchmarks import Item
from pipeline.compiled import compiled, inlined
from pipeline.storage import is_local, join, reading, writing
from pipeline.tables import Texts
from pipeline.words import Bytes, Folded, Hashes, Places, folded, xxh64

_BASE = np.uint64(0x9E3779B97F4A7C15)
_BITS_A_KEY = 16
"""Of the filter that looks before the index does: about one n-gram in a hundred gets by for nothing."""

ARRAYS = ("filter", "keys", "firsts", "items", "places", "lengths", "answers", "answer_lengths", "owners")


class Hit(NamedTuple):
    """An item that a row holds."""

    row: int
    item: int
    share: float
    """Of its words; 1 for a short one, which is held whole or not at all."""


class Index(NamedTuple):
    """The items; each array has one entry an item unless it says otherwise."""

    ngram: int
    filter: Hashes
    """Bits that are set for each key; a power of two of them."""
    keys: Hashes
    """Hashes of word runs, in order, each once: n-grams of long items, and the whole questions of short ones."""
    firsts: Places
    """Key `k` stands at the entries `firsts[k]` to `firsts[k + 1]` of `items` and `places`."""
    items: np.ndarray[Any, np.dtype[np.int32]]
    places: np.ndarray[Any, np.dtype[np.int32]]
    """Number of the word of the question at which the run begins."""
    lengths: np.ndarray[Any, np.dtype[np.int32]]
    """Words of the question; 0 where the item is too short to be looked for."""
    answers: Hashes
    """Hash of the words of the answer."""
    answer_lengths: np.ndarray[Any, np.dtype[np.int32]]
    owners: np.ndarray[Any, np.dtype[np.int32]]
    """Number of the benchmark."""
    names: list[str]


def build(benchmarks: Sequence[Sequence[Item]], ngram: int, short_words: int) -> Index:
    """Index the items of some benchmarks.

    Args:
        ngram: words of a run; a question with fewer is looked for whole, together with its answer.
        short_words: an item with fewer words, question and answer together, is not looked for.
    """
    every = [item for items in benchmarks for item in items]
    asked, answered = (
        Words.of(pa.array([getattr(item, side) for item in every], pa.string())) for side in ("question", "answer")
    )
    lengths, answer_lengths = np.diff(asked.bounds), np.diff(answered.bounds)
    lengths[(lengths < ngram) & (lengths + answer_lengths < short_words)] = 0
    answers = np.zeros(len(every), np.uint64)
    keys, owners, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, length in enumerate(lengths.tolist()):
        if answer_lengths[number]:
            answers[number] = runs(answered.row(number), int(answer_lengths[number]))[0]
        if length:
            found = runs(asked.row(number), min(length, ngram))
            keys.append(found)
            owners.append(np.full(len(found), number))
            places.append(np.arange(len(found)))
    key = np.concatenate(keys)
    order = np.argsort(key, kind="stable")
    unique, firsts = np.unique(key[order], return_index=True)
    return Index(
        ngram,
        _filter(unique),
        unique,
        np.append(firsts, len(key)),
        np.concatenate(owners)[order].astype(np.int32),
        np.concatenate(places)[order].astype(np.int32),
        lengths.astype(np.int32),
        answers,
        answer_lengths.astype(np.int32),
        np.repeat(np.arange(len(benchmarks)), [len(items) for items in benchmarks]).astype(np.int32),
        [item.name for item in every],
    )


def save(index: Index, folder: str) -> str:
    """Write the index, and return its sha256."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        values = getattr(index, name)
        with writing(join(folder, f"{name}.npy")) as file:
            np.save(file, values, allow_pickle=False)
        digest.update(name.encode() + values.dtype.str.encode() + values.tobytes())
    names = orjson.dumps([index.ngram, index.names])
    with writing(join(folder, "names.json")) as file:
        file.write(names)
    digest.update(names)
    return digest.hexdigest()


def load(folder: str) -> Index:
    """Return an index; on a disk its arrays are mapped, and tasks share the memory."""
    arrays = []
    for name in ARRAYS:
        path = join(folder, f"{name}.npy")
        if is_local(path):
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
            continue
        with reading(path) as file:
            arrays.append(np.load(file, allow_pickle=False))
    with reading(join(folder, "names.json")) as file:
        ngram, names = orjson.loads(file.read())
    return Index._make([ngram, *arrays, names])


class Words(NamedTuple):
    """The hashed words of some rows, one after the other."""

    hashes: Hashes
    bounds: Places
    """Row `i` has the words `bounds[i]` to `bounds[i + 1]`."""

    @classmethod
    def of(cls, values: pa.StringArray, bounds: Places | None = None) -> Words:
        """Cut texts into words; row `i` has the texts `bounds[i]` to `bounds[i + 1]`, or text `i`."""
        texts: Folded = folded(values, "words")
        hashes, ends = _words(*texts)
        edges = np.concatenate([[0], ends])
        return cls(hashes, edges if bounds is None else edges[bounds])

    def row(self, number: int) -> Hashes:
        """Return the words of one row."""
        return self.hashes[self.bounds[number] : self.bounds[number + 1]]


def hits(index: Index, texts: Texts, share: float) -> Iterator[Hit]:
    """Yield the items of which a row holds more than a share of the words, or short ones that it holds whole.

    Runs may go from one text of a row to the next.
    """
    words = Words.of(texts.values, texts.bounds)
    short = np.unique(index.lengths[(index.lengths > 0) & (index.lengths < index.ngram)])
    for length in [*short.tolist(), index.ngram]:
        rows, keys = _candidates(index, words, int(length))
        edges = np.flatnonzero(np.append(np.diff(rows, prepend=-1) != 0, True))
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            row = int(rows[start])
            entries = _entries(index, np.unique(keys[start:end]))
            if length == index.ngram:
                yield from (Hit(row, *found) for found in _covered(index, entries) if found[1] > share)
            else:
                whole = np.unique(index.items[entries[index.lengths[index.items[entries]] == length]]).tolist()
                yield from (Hit(row, item, 1.0) for item in whole if _answered(index, words.row(row), item))


def _candidates(index: Index, words: Words, length: int) -> tuple[Places, Places]:
    """Return (row, number of the key) for each run of words that the index has, in order of the rows."""
    rows = np.empty(len(words.hashes), np.int64)
    found = np.empty(len(words.hashes), np.uint64)
    count = _look(words.hashes, words.bounds, length, index.filter, rows, found)
    rows, found = rows[:count], found[:count]
    if not len(index.keys):
        return rows[:0], rows[:0]
    place = np.minimum(np.searchsorted(index.keys, found), len(index.keys) - 1)
    there = index.keys[place] == found
    return rows[there], place[there]


def _entries(index: Index, keys: Places) -> Places:
    """Return the entries at which some keys stand."""
    starts, ends = index.firsts[keys], index.firsts[keys + 1]
    lengths = ends - starts
    return np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))


def _covered(index: Index, entries: Places) -> Iterator[tuple[int, float]]:
    """Yield the items that some n-grams stand in, with the share of their words that these cover."""
    items, places = index.items[entries], index.places[entries]
    order = np.lexsort((places, items))
    items, places = items[order].astype(np.int64), places[order].astype(np.int64)
    last = np.append(items[1:] != items[:-1], True)
    reach = np.minimum(np.append(places[1:], 0) - places, index.ngram)
    reach[last] = index.ngram
    starts = np.flatnonzero(np.append(True, last[:-1]))
    covered = np.add.reduceat(reach, starts)
    found = items[starts]
    shares = covered / index.lengths[found]
    long = index.lengths[found] >= index.ngram
    yield from zip(found[long].tolist(), shares[long].tolist(), strict=True)


def _answered(index: Index, words: Hashes, item: int) -> bool:
    length = int(index.answer_lengths[item])
    return not length or bool(np.any(runs(words, length) == index.answers[item]))


def _filter(keys: Hashes) -> Hashes:
    bits = 1 << max(6, int(max(1, len(keys)) * _BITS_A_KEY - 1).bit_length())
    found = np.zeros(bits // 64, np.uint64)
    for place in (keys, keys >> np.uint64(32)):
        spot = place & np.uint64(bits - 1)
        np.bitwise_or.at(found, (spot >> np.uint64(6)).astype(np.int64), np.uint64(1) << (spot & np.uint64(63)))
    return found


@compiled
def _words(data: Bytes, starts: Places, ends: Places) -> tuple[Hashes, Places]:
    """Hash the words of texts in the form `words`; return where the words of each text end."""
    count = 0
    for text in range(len(starts)):
        if ends[text] > starts[text]:
            count += 1
            for place in range(starts[text], ends[text]):
                if data[place] == 32:
                    count += 1
    hashes = np.empty(count, np.uint64)
    until = np.empty(len(starts), np.int64)
    at = 0
    for text in range(len(starts)):
        begin = starts[text]
        for place in range(starts[text], ends[text] + 1):
            if (place == ends[text] or data[place] == 32) and place > begin:
                hashes[at] = xxh64(data, begin, place)
                at += 1
                begin = place + 1
        until[text] = at
    return hashes, until


@compiled
def runs(words: Hashes, length: int) -> Hashes:
    """Hash each run of so many words."""
    count = max(0, len(words) - length + 1)
    found = np.empty(count, np.uint64)
    power = np.uint64(1)
    for _ in range(length):
        power *= _BASE
    state = np.uint64(0)
    for place in range(len(words)):
        state = state * _BASE + words[place]
        if place >= length:
            state -= power * words[place - length]
        if place >= length - 1:
            found[place - length + 1] = _mixed(state, length)
    return found


@compiled
def _look(words: Hashes, bounds: Places, length: int, filter_: Hashes, rows: Places, found: Hashes) -> int:
    """Note the runs that pass the filter, and return how many there are."""
    mask = np.uint64(len(filter_) * 64 - 1)
    power = np.uint64(1)
    for _ in range(length):
        power *= _BASE
    count = 0
    for row in range(len(bounds) - 1):
        state = np.uint64(0)
        for place in range(bounds[row], bounds[row + 1]):
            state = state * _BASE + words[place]
            if place - bounds[row] >= length:
                state -= power * words[place - length]
            if place - bounds[row] >= length - 1:
                key = _mixed(state, length)
                one, other = key & mask, key >> np.uint64(32) & mask
                if filter_[one >> np.uint64(6)] >> (one & np.uint64(63)) & np.uint64(1) and filter_[
                    other >> np.uint64(6)
                ] >> (other & np.uint64(63)) & np.uint64(1):
                    rows[count] = row
                    found[count] = key
                    count += 1
    return count


@inlined
def _mixed(state: np.uint64, length: int) -> np.uint64:
    value = state + np.uint64(length) * _BASE
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return value ^ value >> np.uint64(31)
