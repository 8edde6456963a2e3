"""release.yaml: what is wrong is said with its line, all at once."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hala_release.errors import ConfigError
from hala_release.release import DatasetArtifact, ModelArtifact, NamedLicense, Release, json_schema, load
from tests import factories

ROOT = Path(__file__).parent.parent.parent

SOUND = """\
name: family
namespace: test
version: 1.0.0
license: cc-by-nc-4.0
language: [ar, en]
artifacts:
  - kind: dataset
    repo: corpus
    bundle: corpus
    summary: Rows.
  - kind: model
    repo: model
    bundle: model
    base: LiquidAI/LFM2-350M
    relation: finetune
    datasets: [corpus]
"""


def written(place: Path, text: str) -> Path:
    path = place / "release.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(place: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(written(place, text))
    first, *lines = str(caught.value).splitlines()
    assert first == f"{place / 'release.yaml'} is not a release:"
    assert caught.value.exit_code == 2
    assert "hala-release schema" in caught.value.fix
    return [line.strip() for line in lines]


def test_a_sound_release_is_read(tmp_path: Path) -> None:
    release = load(written(tmp_path, SOUND))
    corpus, model = release.artifacts
    assert isinstance(corpus, DatasetArtifact)
    assert isinstance(model, ModelArtifact)
    assert (release.tag, release.license, release.repo_id(corpus.repo)) == ("v1.0.0", ("cc-by-nc-4.0",), "test/corpus")
    assert model.base == ("LiquidAI/LFM2-350M",)
    assert release.gates.fail_on == "error"


def test_what_is_depended_on_goes_first(tmp_path: Path) -> None:
    text = SOUND + "  - {kind: space, repo: demo, bundle: demo}\n  - {kind: dataset, repo: more, bundle: more}\n"
    kinds = [artifact.kind for artifact in load(written(tmp_path, text)).in_order]
    assert kinds == ["dataset", "dataset", "model", "space"]


MISTAKES: dict[str, tuple[str, str, str]] = {
    "unknown key": ("language:", "langauge:", "line 5: langauge: unknown key; did you mean `language`?"),
    "unknown key of an artifact": ("summary: Rows.", "sumary: Rows.",
                                   "line 10: artifacts.0.sumary: unknown key; did you mean `summary`?"),
    "key in the singular": ("datasets: [corpus]", "dataset: corpus",
                            "line 16: artifacts.1.dataset: unknown key; did you mean `datasets`?"),
    "key called like a kind": ("language: [ar, en]", "model: x", "line 5: model: unknown key"),
    "key called like the file": ("language: [ar, en]", "release: x", "line 5: release: unknown key"),
    "missing key of an artifact": ("    repo: corpus\n", "", "line 7: artifacts.0.repo: missing"),
    "unquoted number": ("version: 1.0.0", "version: 1.10",
                        "line 3: version: 1.1 is a number to YAML, and not a semantic version; write all three parts, "
                        "like 1.0.0"),
    "unquoted date": ("version: 1.0.0", "version: 2026-01-02",
                      "line 3: version: YAML reads datetime.date(2026, 1, 2), which is not text; put it in quotes"),
    "the Norwegian language": ("[ar, en]", "[ar, no]",
                               "line 5: language.1: YAML reads False, which is not text; put it in quotes"),
    "not a version": ("version: 1.0.0", "version: v1.0.0",
                      "line 3: version: 'v1.0.0' is not a semantic version like 1.0.0 or 1.1.0-rc.1"),
    "not a name": ("repo: corpus", "repo: my corpus",
                   "line 8: artifacts.0.repo: 'my corpus' is not a name that the Hub accepts: "
                   "letters, digits and single `-`, `_` or `.`"),
    "not a repository id": ("LiquidAI/LFM2-350M", "LFM2-350M",
                            "line 14: artifacts.1.base.0: 'LFM2-350M' is not a repository id like namespace/name"),
    "a license in capitals": ("cc-by-nc-4.0", "MIT",
                              "line 4: license.0: 'MIT' is not a license id of the Hub, "
                              "which are lower case, like cc-by-nc-4.0"),
    "a named license without its name": ("cc-by-nc-4.0", "{id: other, link: LICENSE}",
                                         "line 4: license.name: missing"),
    "an unknown kind": ("kind: dataset", "kind: datset",
                        "line 7: artifacts.0: unknown kind 'datset'; did you mean `dataset`?"),
    "a base without a relation": ("    relation: finetune\n", "",
                                  "line 11: artifacts.1: `base` and `relation` belong together: give both or neither"),
    "an unknown relation": ("relation: finetune", "relation: tuned",
                            "line 15: artifacts.1.relation: Input should be 'finetune', 'merge' or 'quantized'"),
    "a newer schema": ("language: [ar, en]", "schema: 2", "line 5: schema: Input should be 1"),
    "a gate that does not exist": ("language: [ar, en]", "gates: {fail_on: never}",
                                   "line 5: gates.fail_on: Input should be 'error' or 'warning'"),
    "a scalar for a mapping": ("language: [ar, en]", "gates: strict",
                               "line 5: gates: has to hold `key: value` lines"),
    "a key twice": ("language: [ar, en]", "name: again", "line 5: name: appears twice"),
    "a key twice in an artifact": ("summary: Rows.", "repo: again", "line 10: repo: appears twice"),
    "a list as a key": ("language: [ar, en]", "? [a, b]\n: c", "line 5: a key has to be text"),
    "YAML that ends early": ("[ar, en]", "[ar, en", "line 6: not YAML: expected ',' or ']', but got ':'"),
    "a tab": ("  - kind: dataset", "\t- kind: dataset",
              "line 7: not YAML: found character '\\t' that cannot start any token"),
    "code": ("version: 1.0.0", "version: !!python/name:os.system",
             "line 3: not YAML: could not determine a constructor for the tag "
             "'tag:yaml.org,2002:python/name:os.system'"),
    "a day that does not exist": ("version: 1.0.0", "version: 2026-02-31",
                                  "a value cannot be read: day is out of range for month"),
    "a number that is none": ("version: 1.0.0", "version: !!int x",
                              "a value cannot be read: invalid literal for int() with base 10: 'x'"),
    "two documents": ("language: [ar, en]", "---\nname: x", "line 5: not YAML: but found another document"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert SOUND.count(old) == 1
    assert problems(tmp_path, SOUND.replace(old, new)) == [expected]


def test_all_mistakes_show_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        SOUND.replace("name: family", "name: a b")
        .replace("version: 1.0.0", "version: one")
        .replace("license:", "licence:")
        .replace("repo: corpus", "repo: a/b/c")
        .replace("base: LiquidAI/LFM2-350M", "base: [LiquidAI/LFM2-350M, x, 5]")
    )
    found = problems(tmp_path, text + "gates: {fail_on: never}\n")
    assert [line.split(": ")[:2] for line in found] == [
        ["line 1", "license"],
        ["line 1", "name"],
        ["line 3", "version"],
        ["line 4", "licence"],
        ["line 8", "artifacts.0.repo"],
        ["line 14", "artifacts.1.base.1"],
        ["line 14", "artifacts.1.base.2"],
        ["line 17", "gates.fail_on"],
    ]


def test_a_repository_named_twice_is_refused(tmp_path: Path) -> None:
    text = SOUND + "  - {kind: dataset, repo: test/Corpus, bundle: other}\n"
    (found,) = problems(tmp_path, text)
    assert "dataset test/Corpus is named twice" in found


def test_a_dataset_and_a_model_may_have_one_name(tmp_path: Path) -> None:
    assert len(load(written(tmp_path, SOUND.replace("repo: model", "repo: corpus"))).artifacts) == 2


@pytest.mark.parametrize(
    "text",
    [
        SOUND.replace("name: family", "name: &name family").replace("summary: Rows.", "summary: *name"),
        SOUND.replace("[ar, en]", "[&a ar, *a]"),
        SOUND.replace("language: [ar, en]", "citation: &loop [*loop]"),
    ],
    ids=["value", "item", "loop"],
)
def test_aliases_are_refused(tmp_path: Path, text: str) -> None:
    assert any("aliases are not allowed" in line for line in problems(tmp_path, text))


def test_a_file_that_unfolds_for_ever_is_refused_at_once(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
    assert len(problems(tmp_path, bomb)) == 22


def test_a_file_nested_for_ever_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "a: " + "[" * 5000 + "]" * 5000) == ["nested too deeply"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]\n", "word\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == ["line 1: the file: has to hold `key: value` lines"]


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(tmp_path / "release.yaml")


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load(tmp_path / "release.yaml")
    assert "hala-release init" in caught.value.fix


@given(st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_release_or_a_config_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "release.yaml").write_bytes(text.encode("utf-8", "replace"))
    with pytest.raises(ConfigError):
        load(tmp_path / "release.yaml")


keys = st.sampled_from(sorted({*Release.model_fields, *ModelArtifact.model_fields, "model", "dataset", "space", "x"}))
values = st.recursive(
    st.sampled_from([None, True, 1, 1.1, "x", "dataset", "model", "1.0.0", "a/b", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=8), st.lists(st.dictionaries(keys, values, max_size=6), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_document_is_a_release_or_a_config_error(
    tmp_path: Path, document: dict[str, Any], artifacts: list[dict[str, Any]]
) -> None:
    path = factories.write_release(tmp_path / "release.yaml", **{**document, "artifacts": artifacts})
    try:
        load(path)
    except ConfigError as error:
        lines = str(error).splitlines()[1:]
        last = len(path.read_text(encoding="utf-8").splitlines())
        numbers = [int(number) for line in lines for number in re.findall(r"^  line (\d+): ", line)]
        assert len(numbers) == len(lines) > 0
        assert all(1 <= number <= last for number in numbers)


@pytest.mark.parametrize(
    "version", ["1.0.0", "0.0.0", "10.20.30", "1.1.0-rc.1", "1.0.0-0.3.7", "1.0.0-x-y-z.4", "1.0.0-alpha"]
)
def test_versions_of_semver_are_accepted(tmp_path: Path, version: str) -> None:
    release = load(written(tmp_path, SOUND.replace("version: 1.0.0", f'version: "{version}"')))
    assert release.tag == f"v{version}"


@pytest.mark.parametrize("version", ["1", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+build", "1.0.0 ", "١.٠.٠", ""])
def test_other_versions_are_refused(tmp_path: Path, version: str) -> None:
    (found,) = problems(tmp_path, SOUND.replace("version: 1.0.0", f'version: "{version}"'))
    assert "is not a semantic version" in found


@pytest.mark.parametrize("name", ["a", "A-b_c.d", "x" * 96])
def test_names_of_the_hub_are_accepted(tmp_path: Path, name: str) -> None:
    assert load(written(tmp_path, SOUND.replace("repo: corpus", f"repo: {name}"))).artifacts[0].repo == name


@pytest.mark.parametrize(
    "name", ["-a", "a-", "a--b", "a..b", ".a", "x" * 97, "a.git", "قطر", "../x", "/x", "x/", "a/b/c"]
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, SOUND.replace("repo: corpus", f'repo: "{name}"'))
    assert "line 8: artifacts.0.repo: " in found
    assert "is not a name that the Hub accepts" in found


def test_a_license_has_three_forms(tmp_path: Path) -> None:
    def terms(text: str) -> object:
        return load(written(tmp_path, SOUND.replace("cc-by-nc-4.0", text))).license

    assert terms("mit") == ("mit",)
    assert terms("[mit, apache-2.0]") == ("mit", "apache-2.0")
    assert terms("{id: other, name: lfm1.0, link: LICENSE}") == NamedLicense(id="other", name="lfm1.0", link="LICENSE")


def test_the_example_of_init_loads_and_its_schema_lies_where_it_says(tmp_path: Path) -> None:
    run = factories.hala_release("init", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    release = load(tmp_path / "release.yaml")
    assert [artifact.kind for artifact in release.artifacts] == ["dataset", "model"]
    line = (tmp_path / "release.yaml").read_text(encoding="utf-8").splitlines()[0]
    schema = line.removeprefix("# yaml-language-server: $schema=")
    assert json.loads((tmp_path / schema).read_text()) == json_schema()


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    written(tmp_path, "mine")
    run = factories.hala_release("init", cwd=tmp_path)
    assert run.returncode == 2
    assert "release.yaml exists" in run.stderr
    assert (tmp_path / "release.yaml").read_text() == "mine"


def test_the_committed_schema_is_the_one_that_the_command_prints(tmp_path: Path) -> None:
    printed = factories.hala_release("schema", cwd=tmp_path).stdout
    assert json.loads(printed) == json_schema()
    assert (ROOT / "hala_release" / "release.schema.json").read_text(encoding="utf-8") == printed


def test_every_release_of_this_repository_loads_and_names_its_schema() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    releases = [ROOT / path for path in listed if "\nartifacts:" in (ROOT / path).read_text(encoding="utf-8")]
    assert {path.relative_to(ROOT).as_posix() for path in releases} >= {
        "hala_release/release.example.yaml",
        "pipeline/demo/release.yaml",
    }
    for path in releases:
        load(path)
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        if "example" not in path.name:
            assert (path.parent / first.partition("=")[2]).is_file()
