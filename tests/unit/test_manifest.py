"""What a manifest lets in, and that it survives the disk."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hala_release.bundle import Bundle
from hala_release.errors import ContractError, SchemaTooNew
from hala_release.manifest import (
    ConfigFacts,
    DatasetFacts,
    FileEntry,
    Input,
    Manifest,
    ModelFacts,
    Provenance,
    SpaceFacts,
    SplitFacts,
    problem_with_path,
)

sizes = st.integers(min_value=0, max_value=2**63)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
parts = st.text(st.sampled_from("abXY09_-. سلامé"), min_size=1, max_size=12)
paths = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda path: problem_with_path(path) is None)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
splits = st.builds(SplitFacts, name=words, rows=sizes, bytes=sizes, download_bytes=sizes, files=st.tuples(paths))
configs = st.builds(
    ConfigFacts,
    name=words,
    features=st.tuples(st.dictionaries(words, json_values, max_size=2)),
    splits=st.tuples(splits),
)
facts = st.one_of(
    st.builds(DatasetFacts, configs=st.tuples(configs)),
    st.builds(
        ModelFacts,
        architecture=words,
        model_type=words,
        parameters=st.dictionaries(words, sizes, max_size=3),
        dtype=words,
        tensor_bytes=sizes,
        context=st.none() | sizes,
        vocabulary=st.none() | sizes,
        quantization=st.none() | words,
        tokenizer_sha256=st.none() | digests,
        chat_template_sha256=st.none() | digests,
    ),
    st.builds(SpaceFacts, sdk=words, sdk_version=st.none() | words, app_file=st.none() | words),
)
entries = st.lists(
    st.builds(FileEntry, path=paths, size=sizes, sha256=digests),
    max_size=4,
    unique_by=lambda entry: entry.path.casefold(),
).map(lambda found: tuple(sorted(found, key=lambda entry: entry.path)))
manifests = st.builds(
    Manifest,
    name=words,
    facts=facts,
    files=entries,
    provenance=st.builds(
        Provenance,
        stage=words,
        config=st.dictionaries(words, json_values, max_size=3),
        inputs=st.tuples(st.builds(Input, name=words, manifest_sha256=digests)),
        tools=st.dictionaries(words, words, max_size=2),
    ),
)


@given(manifests)
def test_a_manifest_survives_the_disk(manifest: Manifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_bytes(manifest.to_json())
        assert Bundle.open(Path(folder)).manifest == manifest


@given(manifests)
def test_the_same_manifest_gives_the_same_bytes(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json(), where="manifest.json").to_json() == manifest.to_json()


BAD_PATHS = {
    "": "empty",
    "/etc/passwd": "absolute",
    "a//b": "empty component",
    "a/": "empty component",
    "..": "`..`",
    "../a": "`..`",
    "a/../../b": "`..`",
    "./a": "`.`",
    ".git/config": "`.git`",
    "a/.GIT/hooks/post-checkout": "`.git`",
    "a\\b": "Windows",
    "C:\\windows": "Windows",
    "what?.txt": "Windows",
    "folder./a": "Windows",
    "a ": "Windows",
    "aux.txt": "device",
    "notes/COM1": "device",
    "a\nb": "control",
    "a\x00b": "control",
    "a\x7fb": "control",
    "invoice\u202efdp.exe": "invisible",
    "a\u200bb": "invisible",
    "a\u2028b": "invisible",
    "\ud800": "invisible",
    "e\u0301.txt": "NFC",
    "a" * 256: "longer",
    "é" * 128: "longer",
    "/".join(["abcdefgh"] * 120): "longer",
}


@pytest.mark.parametrize(("path", "reason"), BAD_PATHS.items(), ids=[ascii(path)[:24] for path in BAD_PATHS])
def test_a_path_that_escapes_or_hides_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        read(with_files(path))
    assert reason in str(caught.value)


def test_arabic_paths_and_dots_inside_names_are_welcome() -> None:
    paths = (".gitattributes", "a..b", "data/قطار-00000-of-00001.parquet", "git/x", "é" * 127)
    assert [entry.path for entry in read(with_files(*sorted(paths))).files] == sorted(paths)


@given(st.text(max_size=30))
def test_a_path_is_accepted_only_when_it_stays_where_it_is_put(path: str) -> None:
    if problem_with_path(path) is None:
        root = Path("/repository")
        assert root in (root / path).parents
        assert (root / path).relative_to(root).as_posix() == path
        assert unicodedata.normalize("NFC", path) == path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README.txt", "readme.txt"),
        ("Data/a", "data/a"),
        ("Data/a", "data/b"),
        ("Data/b", "data"),
        ("STRASSE", "straße"),
    ],
)
def test_paths_that_differ_only_in_case_are_refused(one: str, other: str) -> None:
    with pytest.raises(ContractError, match="differ only in case") as caught:
        read(with_files(one, other))
    assert one in str(caught.value)
    assert other in str(caught.value)


@pytest.mark.parametrize("paths", [("b", "a"), ("a", "a")])
def test_files_out_of_order_or_listed_twice_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(ContractError, match="not sorted by path, or one is listed twice"):
        read(with_files(*paths))


def test_a_newer_schema_is_refused_with_the_way_out() -> None:
    with pytest.raises(SchemaTooNew, match=r"schema 2; this hala-release reads up to 1") as caught:
        read({**with_files("a"), "schema": 2, "unheard_of": True})
    assert caught.value.fix == "pip install --upgrade hala-release"
    assert caught.value.exit_code == 3


def test_every_problem_is_listed_at_once() -> None:
    document = with_files("../a", "b")
    document["files"][1]["size"] = -1
    document["files"][1]["sha256"] = "ABC"
    document["facts"]["sdk_versoin"] = "5"
    document["colour"] = "blue"
    del document["provenance"]
    with pytest.raises(ContractError) as caught:
        read(document)
    message = str(caught.value)
    assert message.startswith("out/x/manifest.json is not a manifest:")
    for place in ("files.0.path", "files.1.size", "files.1.sha256", "facts.space.sdk_versoin", "colour", "provenance"):
        assert f"\n  {place}: " in message


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"schema": 1}'])
def test_what_is_no_manifest_is_a_contract_error(data: bytes) -> None:
    with pytest.raises(ContractError, match=r"^out/x/manifest\.json is not"):
        Manifest.from_json(data, where="out/x/manifest.json")


def with_files(*paths: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "x",
        "facts": {"kind": "space", "sdk": "static", "sdk_version": None, "app_file": None},
        "files": [{"path": path, "size": 1, "sha256": "0" * 64} for path in paths],
        "provenance": {"stage": "adopt"},
    }


def read(document: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(document).encode(), where="out/x/manifest.json")
