"""A sealed bundle is what was sealed, or says what changed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hala_release.adopt import adopt
from hala_release.bundle import Bundle, seal
from hala_release.errors import BundleChanged, BundleIncomplete, PayloadInvalid
from hala_release.manifest import Provenance, SpaceFacts
from tests import factories


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return adopt(factories.write_model(tmp_path / "raw"), kind="model", out=tmp_path / "model").bundle


def test_a_directory_without_a_manifest_is_not_finished(bundle: Bundle) -> None:
    (bundle.root / "manifest.json").unlink()
    with pytest.raises(BundleIncomplete, match=r"is not finished: it has no manifest\.json") as caught:
        Bundle.open(bundle.root)
    assert "hala-release adopt" in caught.value.fix
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["empty", "a-file", "absent"])
def test_what_never_was_a_bundle_is_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    with pytest.raises(BundleIncomplete, match="is not a bundle"):
        Bundle.open(tmp_path / name)


def test_an_untouched_bundle_verifies_again_and_again(bundle: Bundle) -> None:
    bundle.verify()
    bundle.verify(rehash=True)
    bundle.verify()


def change(bundle: Bundle) -> None:
    flip(bundle.files / "model.safetensors")


def change_and_put_the_time_back(bundle: Bundle) -> None:
    file = bundle.files / "model.safetensors"
    before = file.stat()
    flip(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (before.st_mtime_ns, before.st_size)


def exchange_for_a_copy(bundle: Bundle) -> None:
    file = bundle.files / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.unlink()
    file.write_bytes(data)


def truncate(bundle: Bundle) -> None:
    os.truncate(bundle.files / "model.safetensors", 100)


def remove(bundle: Bundle) -> None:
    (bundle.files / "model.safetensors").unlink()


def add(bundle: Bundle) -> None:
    (bundle.files / "deep").mkdir()
    (bundle.files / "deep" / "pytorch_model.bin").write_bytes(b"x")


def link(bundle: Bundle) -> None:
    file = bundle.files / "config.json"
    file.rename(bundle.root / "elsewhere.json")
    file.symlink_to("../elsewhere.json")


def link_a_directory(bundle: Bundle) -> None:
    (bundle.files / "etc").symlink_to("/etc")


def put_a_pipe(bundle: Bundle) -> None:
    os.mkfifo(bundle.files / "pipe")


def empty_all(bundle: Bundle) -> None:
    for file in bundle.files.iterdir():
        file.unlink()
    bundle.files.rmdir()


DAMAGE: dict[Callable[[Bundle], None], str] = {
    change: "model.safetensors has other bytes than were sealed",
    change_and_put_the_time_back: "model.safetensors has other bytes than were sealed",
    exchange_for_a_copy: "model.safetensors has other bytes than were sealed",
    truncate: "model.safetensors has 100 bytes, sealed with",
    remove: "model.safetensors is missing",
    add: "deep/pytorch_model.bin was added",
    link: "config.json is a symbolic link",
    link_a_directory: "etc is a symbolic link",
    put_a_pipe: "pipe is not a regular file",
    empty_all: "tokenizer.json is missing",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("rehash", [False, True], ids=["remembered", "rehash"])
def test_damage_is_found(bundle: Bundle, damage: Callable[[Bundle], None], rehash: bool) -> None:
    damage(bundle)
    with pytest.raises(BundleChanged) as caught:
        bundle.verify(rehash=rehash)
    assert DAMAGE[damage] in str(caught.value)
    assert "a sealed bundle is never edited" in caught.value.fix


def test_damage_is_found_again_the_next_time(bundle: Bundle) -> None:
    change(bundle)
    for _ in range(2):
        with pytest.raises(BundleChanged, match="other bytes"):
            bundle.verify()


def test_all_that_changed_is_listed_at_once(bundle: Bundle) -> None:
    for damage in (change, link, add, link_a_directory):
        damage(bundle)
    (bundle.files / "tokenizer.json").unlink()
    with pytest.raises(BundleChanged) as caught:
        bundle.verify()
    listed = {line.strip() for line in str(caught.value).splitlines()[1:]}
    assert listed == {
        "config.json is a symbolic link",
        "config.json is missing",
        "deep/pytorch_model.bin was added",
        "etc is a symbolic link",
        "model.safetensors has other bytes than were sealed",
        "tokenizer.json is missing",
    }


def test_an_unchanged_file_is_not_read_again_unless_asked_to(tmp_path: Path) -> None:
    size = 4_000_000
    raw = factories.write_model(tmp_path / "raw")
    factories.write_tensors(raw / "model.safetensors", {"embed": ("U8", (size,))})
    bundle = adopt(raw, kind="model", out=tmp_path / "model").bundle
    assert bytes_read_by(bundle.verify) < size / 10
    assert bytes_read_by(lambda: bundle.verify(rehash=True)) > size
    assert bytes_read_by(bundle.verify) < size / 10
    os.utime(bundle.files / "model.safetensors")
    assert bytes_read_by(bundle.verify) > size
    assert bytes_read_by(bundle.verify) < size / 10


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"config.json": 5}',
        b'{"config.json": []}',
        b'{"x": [1]}',
    ],
    ids=range(9),
)
def test_a_broken_memory_of_digests_is_harmless(bundle: Bundle, data: bytes) -> None:
    (bundle.root / ".digests.json").write_bytes(data)
    bundle.verify()
    change(bundle)
    with pytest.raises(BundleChanged, match="other bytes"):
        bundle.verify()


def test_a_wrong_memory_of_digests_accuses_nobody(bundle: Bundle) -> None:
    memory = bundle.root / ".digests.json"
    remembered = json.loads(memory.read_bytes())
    assert len(remembered) == 5
    memory.write_text(json.dumps({path: [*mark, "0" * 64] for path, (*mark, _) in remembered.items()}))
    bundle.verify()
    assert json.loads(memory.read_bytes()) == remembered


def test_a_copied_bundle_verifies_where_it_came_to(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.root, tmp_path / "copy")
    Bundle.open(tmp_path / "copy").verify()


def test_sealed_files_are_read_only(bundle: Bundle) -> None:
    files = [bundle.root / "manifest.json", *bundle.files.iterdir()]
    assert len(files) == 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o444}


def test_a_file_is_read_only_as_it_was_sealed(bundle: Bundle) -> None:
    entry = next(entry for entry in bundle.manifest.files if entry.path == "model.safetensors")
    assert bundle.read(entry) == (bundle.files / entry.path).read_bytes()
    change(bundle)
    with pytest.raises(BundleChanged, match=r"model\.safetensors changed after it was sealed"):
        bundle.read(entry)


def test_a_link_cannot_be_sealed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").symlink_to("/etc/hostname")
    with pytest.raises(PayloadInvalid, match="a is a symbolic link"):
        seal(
            tmp_path,
            name="x",
            facts=SpaceFacts(sdk="static", sdk_version=None, app_file=None),
            provenance=Provenance(stage="test"),
            digests={},
        )
    assert not (tmp_path / "manifest.json").exists()


def test_two_verifications_at_once_do_not_disturb_each_other(bundle: Bundle) -> None:
    failures: list[BaseException] = []

    def verify() -> None:
        try:
            for _ in range(10):
                bundle.verify(rehash=True)
        except (BundleChanged, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=verify) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    bundle.verify()


def flip(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))


def bytes_read_by(act: Callable[[], None]) -> int:
    """Bytes that this process asked the system for while it acted; Linux counts them."""
    before = _rchar()
    act()
    return _rchar() - before


def _rchar() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])
