"""Charts: the same scores give the same picture, in light and dark, with Arabic letters joined."""

from __future__ import annotations

import struct
from pathlib import Path

from matplotlib.textpath import TextPath

from hala_release import card
from hala_release.card import charts, scores
from hala_release.release import load
from hala_release.wanted import wanted
from tests.cards import made


def drawn(place: Path) -> dict[str, bytes]:
    place.mkdir()
    (want,) = (one for one in wanted(load(made.hala(place)), place) if one.artifact.repo == "hala-9b")
    return {path: data for path, data in want.rendered.items() if path.endswith(".png")}


def chunks(png: bytes) -> list[str]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, found = 8, []
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        found.append(png[place + 4 : place + 8].decode())
        place += size + 12
    return found


def test_the_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = drawn(tmp_path / "first"), drawn(tmp_path / "second")
    assert first == second
    assert first.keys() == set(charts.NAMES)
    light, dark = (first[name] for name in charts.NAMES)
    assert light != dark
    for png in first.values():
        assert set(chunks(png)) <= {"IHDR", "pHYs", "IDAT", "IEND"}, "no date, no program"
        assert len(png) < 200_000


def test_another_score_is_another_picture(tmp_path: Path) -> None:
    (want,) = (one for one in wanted(load(made.hala(tmp_path)), tmp_path) if one.artifact.repo == "hala-9b")
    table = scores.table(want.member.results)
    assert table is not None
    (line,) = table.lines
    other = table._replace(lines=(line._replace(points=line.points + 5),))
    assert charts.draw(table, "Hala") != charts.draw(other, "Hala")
    assert charts.draw(table, "Hala") == charts.draw(table, "Hala")


def test_the_picture_is_told_in_words_and_the_table_has_its_numbers(tmp_path: Path) -> None:
    (want,) = (one for one in wanted(load(made.hala(tmp_path)), tmp_path) if one.artifact.repo == "hala-9b")
    table = scores.table(want.member.results)
    assert table is not None
    words = charts.alt(table, "Hala 9B")
    for part in ("Hala 9B", "QCRI/Fanar-1-9B-Instruct", "EXAMS", "95%"):
        assert part in words
    assert want.card.count(f'alt="{words}"') == 2
    assert f"| {table.lines[0].value} |" in want.card
    assert card.is_rendered(charts.NAMES[0])


def test_arabic_letters_are_joined() -> None:
    """Joined letters are narrower than the same letters alone."""
    alone = sum(TextPath((0, 0), letter, size=20).get_extents().width for letter in "سلسبيل")
    assert TextPath((0, 0), "سلسبيل", size=20).get_extents().width < 0.9 * alone
