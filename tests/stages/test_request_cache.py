"""An answer that was given once is found again, whole, whatever became of the process that asked."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hala_release.errors import Unfinished
from pipeline.engines import answers as cache
from pipeline.engines.answers import Answer, Answers, key
from pipeline.engines.echo import ROOT
from pipeline.prompts import Message


def name(number: int) -> bytes:
    """Make a key."""
    return hashlib.sha256(b"%d" % number).digest()


def answer(number: int) -> Answer:
    """Make an answer that tells its number."""
    return Answer(f"جواب {number}\nسطر ثان", "stop", number, number)


def filled(folder: Path, count: int, start: int = 0) -> Path:
    """Write answers, and return their file."""
    before = set(folder.glob("*.answers"))
    with Answers(folder, "00000") as answers:
        for number in range(start, start + count):
            answers.put(name(number), answer(number))
    (file,) = set(folder.glob("*.answers")) - before
    return file


def known(folder: Path, count: int) -> list[int]:
    """Return which of so many answers are found whole."""
    with Answers(folder, "00001") as answers:
        found = {number: answers.get(name(number)) for number in range(count)}
    assert all(one is None or one == answer(number) for number, one in found.items())
    return [number for number, one in found.items() if one]


def test_what_was_put_is_found_at_once_and_by_the_next_process(tmp_path: Path) -> None:
    with Answers(tmp_path, "00000") as answers:
        assert answers.get(name(1)) is None
        answers.put(name(1), answer(1))
        assert answers.get(name(1)) == answer(1)
        assert answers.get(name(2)) is None
        assert len(answers) == 1
    assert known(tmp_path, 3) == [1]


def test_reading_makes_no_file_and_needs_no_folder(tmp_path: Path) -> None:
    assert known(tmp_path / "none", 3) == []
    assert not (tmp_path / "none").exists()


@settings(max_examples=100, deadline=None)
@given(text=st.text(), reason=st.sampled_from(["stop", "length"]), tokens=st.integers(0, 1 << 40))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str, reason: str, tokens: int) -> None:
    folder = tmp_path_factory.mktemp("answers")
    told = Answer(text, reason, tokens, tokens)
    with Answers(folder, "00000") as answers:
        answers.put(name(0), told)
    with Answers(folder, "00000") as answers:
        assert answers.get(name(0)) == told


def test_a_long_answer_comes_back(tmp_path: Path) -> None:
    told = Answer("كلمة " * 100_000, "stop", 1, 2)
    with Answers(tmp_path, "00000") as answers:
        answers.put(name(0), told)
        assert answers.get(name(0)) == told


CHAT = [Message(role="user", content="Translate: Hello")]


@pytest.mark.parametrize(
    ("messages", "digest", "parameters"),
    [
        ([Message(role="user", content="Translate: Hallo")], "m1", {"seed": 0}),
        ([Message(role="system", content="Translate: Hello")], "m1", {"seed": 0}),
        (CHAT * 2, "m1", {"seed": 0}),
        (CHAT, "m2", {"seed": 0}),
        (CHAT, "m1", {"seed": 1}),
        (CHAT, "m1", {"seed": 0, "stop": ["."]}),
    ],
    ids=["text", "role", "turns", "model", "seed", "stop"],
)
def test_a_key_covers_all_that_an_answer_depends_on(
    messages: list[Message], digest: str, parameters: dict[str, object]
) -> None:
    reference = key(CHAT, "m1", {"seed": 0, "temperature": 0})
    assert key(CHAT, "m1", {"temperature": 0, "seed": 0}) == reference
    assert key(messages, digest, {**parameters, "temperature": 0}) != reference


def test_answers_of_many_writers_are_found_together(tmp_path: Path) -> None:
    for start in range(0, 100, 10):
        filled(tmp_path, 10, start)
    assert len(list(tmp_path.glob("*.answers"))) == 10
    assert known(tmp_path, 110) == list(range(100))


@pytest.mark.parametrize("index", [True, False], ids=["with its index", "without"])
def test_a_file_cut_anywhere_loses_only_what_was_cut(tmp_path: Path, *, index: bool) -> None:
    file = filled(tmp_path, 3)
    data = file.read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == 3
    if not index:
        file.with_suffix(".index").unlink()
    cuts = 0
    for size in range(len(data), -1, -1):
        os.truncate(file, size)
        assert known(tmp_path, 3) == [number for number, end in enumerate(ends) if end <= size]
        cuts += 1
    assert cuts > 500


def test_an_index_cut_anywhere_loses_nothing(tmp_path: Path) -> None:
    index = filled(tmp_path, 5).with_suffix(".index")
    assert index.stat().st_size == 5 * 16
    for size in range(5 * 16, -1, -1):
        os.truncate(index, size)
        assert known(tmp_path, 5) == [0, 1, 2, 3, 4]


def test_an_index_that_makes_no_sense_loses_nothing(tmp_path: Path) -> None:
    index = filled(tmp_path, 5).with_suffix(".index")
    data = index.read_bytes()
    index.write_bytes(data[:32] + bytes(48))
    assert known(tmp_path, 5) == [0, 1, 2, 3, 4]
    index.write_bytes(data[:40] + b"\xff" * 8 + data[48:])
    assert known(tmp_path, 5) == [0, 1, 2, 3, 4]


def test_an_index_of_other_answers_gives_none_of_them(tmp_path: Path) -> None:
    file = filled(tmp_path, 5)
    data = file.read_bytes()
    file.write_bytes(data.replace(name(2).hex().encode(), name(99).hex().encode()))
    assert known(tmp_path, 5) == [0, 1, 3, 4]


@pytest.mark.parametrize("place", [10, 67, 80, 120])
def test_a_damaged_answer_is_none_and_the_others_stay(tmp_path: Path, place: int) -> None:
    file = filled(tmp_path, 5)
    data = bytearray(file.read_bytes())
    line = data.index(b"\n", data.index(b"\n") + 1) + 1
    data[line + place] ^= 1
    file.write_bytes(data)
    for path in (file.with_suffix(".index"), None):
        assert known(tmp_path, 5) == [0, 1, 3, 4]
        if path:
            path.unlink()


def test_an_answer_asked_again_after_damage_is_found(tmp_path: Path) -> None:
    file = filled(tmp_path, 3)
    data = bytearray(file.read_bytes())
    data[80] ^= 1
    file.write_bytes(data)
    assert known(tmp_path, 3) == [1, 2]
    with Answers(tmp_path, "00002") as answers:
        answers.put(name(0), answer(0))
    assert known(tmp_path, 3) == [0, 1, 2]


def test_a_writer_reads_its_own_answers_however_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RECENT", 7)
    filled(tmp_path, 50)
    with Answers(tmp_path, "00001") as answers:
        for number in range(50, 100):
            answers.put(name(number), answer(number))
            assert all(answers.get(name(one)) == answer(one) for one in range(0, number, 9))
        assert len(answers) == 100
    assert known(tmp_path, 100) == list(range(100))


def test_two_keys_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    twins = [name(0)[:8] + bytes([number]) * 24 for number in range(3)]
    with Answers(tmp_path, "00000") as answers:
        for number, twin in enumerate(twins[:2]):
            answers.put(twin, answer(number))
    with Answers(tmp_path, "00000") as answers:
        assert [answers.get(twin) for twin in twins] == [answer(0), answer(1), None]


def test_more_files_than_are_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "OPEN_FILES", 3)
    for start in range(10):
        filled(tmp_path, 1, start)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Answers(tmp_path, "00000") as answers:
        for _ in range(3):
            assert [answers.get(name(number)) for number in range(10)] == [answer(number) for number in range(10)]
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    assert len(list(Path("/proc/self/fd").iterdir())) == before


WRITER = """
import sys
from pathlib import Path
from pipeline.engines.answers import Answers
from tests.stages.test_request_cache import answer, name

answers = Answers(Path(sys.argv[1]), "00000")
for number in range(10**9):
    answers.put(name(number), answer(number))
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_loses_no_answer(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 500:
                process.send_signal(signal.SIGKILL)
                break
        said = [500, *map(int, process.stdout.read().split())]
    found = known(tmp_path, said[-1] + 2)
    assert found[: said[-1] + 1] == list(range(said[-1] + 1))


def limited() -> None:
    """Let files grow to 4,000 bytes and no further, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))


def test_a_full_disk_is_an_error_with_a_way_out_and_what_was_kept_stays(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=limited,
        check=False,
    )
    assert told.returncode == 1
    assert f"Unfinished: answers cannot be kept in {tmp_path}: File too large" in told.stderr
    said = [int(line) for line in told.stdout.split()]
    (file,) = tmp_path.glob("*.answers")
    assert file.stat().st_size == 4_000
    assert not file.read_bytes().endswith(b"\n"), "the disk took half of the last answer"
    assert len(said) > 10
    assert known(tmp_path, said[-1] + 5) == said


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Answers(tmp_path / "file", "00000") as answers, pytest.raises(Unfinished, match="File exists") as told:
        answers.put(name(0), answer(0))
    assert "`cache:`" in told.value.fix


def test_an_index_takes_sixteen_bytes_an_answer(tmp_path: Path) -> None:
    filled(tmp_path, 1_000)
    with Answers(tmp_path, "00001") as answers:
        held = answers._known
        assert held.prefixes.nbytes + held.locations.nbytes == 16 * 1_000


def test_a_line_can_be_read_by_a_person(tmp_path: Path) -> None:
    told, _, rest = filled(tmp_path, 1).read_text(encoding="utf-8").partition(" ")
    assert told == name(0).hex()
    assert json.loads(rest.partition(" ")[2]) == {
        "text": "جواب 0\nسطر ثان",
        "finish_reason": "stop",
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
