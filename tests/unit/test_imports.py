"""Who may import what: foreign libraries have one door each, and layers import only downwards."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

DOORS: dict[str, set[str]] = {
    "aiohttp": {"pipeline/engines/chat.py", "pipeline/engines/lm_eval.py"},
    "click": {"hala_release/cli"},
    "codecarbon": {"pipeline/engines/trl.py"},
    "compressed_tensors": {"pipeline/engines/llmcompressor.py"},
    "datasets": {
        "hala_release/payload/parquet.py",
        "pipeline/benchmarks.py",
        "pipeline/engines/trl.py",
        "pipeline/tasks/hala.py",
    },
    "datatrove": {"pipeline"},
    "fsspec": {"pipeline/fetch.py", "pipeline/ingest.py", "pipeline/sources/files.py", "pipeline/storage.py"},
    "gradio_client": {"hala_release/live.py"},
    "httpx": {"hala_release/live.py", "pipeline/engines"},
    "huggingface_hub": {"hala_release/hub.py"},
    "ijson": {"pipeline/sources/files.py"},
    "jinja2": {"hala_release/card/words.py", "pipeline/engines/tokens.py"},
    "llmcompressor": {"pipeline/engines/llmcompressor.py"},
    "lm_eval": {"pipeline/engines/lm_eval.py"},
    "lz4": {"hala_release/localhub"},
    "markdown_it": {"hala_release/card/lint.py", "hala_release/localhub/markdown.py"},
    "matplotlib": {"hala_release/card/charts.py", "pipeline/quality.py", "pipeline/sweep.py", "pipeline/train.py"},
    "mergekit": {"pipeline/engines/mergekit.py"},
    "nh3": {"hala_release/localhub/markdown.py"},
    "numba": {"pipeline"},
    "numpy": {"pipeline"},
    "orjson": {"pipeline"},
    "pyarrow": {
        "hala_release/payload/jsonl.py",
        "hala_release/payload/lighteval.py",
        "hala_release/payload/parquet.py",
        "hala_release/payload/shards.py",
        "pipeline",
    },
    "pycld2": {"pipeline/rules/language.py"},
    "pydantic": {
        "hala_release/adopt.py",
        "hala_release/card/__init__.py",
        "hala_release/header.py",
        "hala_release/located.py",
        "hala_release/manifest.py",
        "hala_release/payload/lighteval.py",
        "hala_release/payload/lm_eval.py",
        "hala_release/plan.py",
        "hala_release/release.py",
        "hala_release/reported.py",
        "hala_release/reports.py",
        "hala_release/version.py",
        "pipeline",
    },
    "pydantic_core": {"hala_release/header.py", "hala_release/located.py"},
    "ray": {"pipeline/executor.py"},
    "sacrebleu": {"pipeline/engines/bleu.py"},
    "safetensors": {"pipeline/engines/loading.py"},
    "starlette": {"hala_release/localhub"},
    "tokenizers": {"pipeline/demo/model.py"},
    "torch": {"pipeline/demo/packaged.py", "pipeline/engines"},
    "transformers": {"pipeline/demo/packaged.py", "pipeline/engines"},
    "trl": {"pipeline/engines/trl.py"},
    "uvicorn": {"hala_release/localhub", "pipeline/engines/echo.py"},
    "vllm": {"pipeline/engines/plugins"},
    "yaml": {
        "hala_release/card/evals.py",
        "hala_release/frontmatter.py",
        "hala_release/localhub",
        "hala_release/located.py",
        "pipeline/__main__.py",
    },
}
"""Foreign library -> the files, or folders, that import it."""

BELOW: dict[str, set[str]] = {
    "finding": set(),
    "talk": set(),
    "units": set(),
    "escape": set(),
    "significance": set(),
    "vocabulary": set(),
    "errors": {"finding"},
    "disk": set(),
    "version": set(),
    "manifest": {"errors"},
    "bundle": {"disk", "errors", "manifest"},
    "located": set(),
    "frontmatter": {"errors"},
    "regions": {"errors", "frontmatter", "manifest"},
    "release": {"errors", "located", "manifest", "version"},
    "header": {"finding", "manifest", "release", "vocabulary"},
    "payload": {"disk", "errors", "frontmatter", "manifest", "talk"},
    "adopt": {"bundle", "disk", "errors", "manifest", "payload", "talk"},
    "lineage": {"bundle", "errors", "manifest"},
    "reports": {"bundle", "errors"},
    "reported": {"errors", "escape", "located", "manifest"},
    "results": {"bundle", "errors", "escape", "lineage", "manifest", "release", "significance"},
    "family": {"bundle", "release", "reported", "results"},
    "card": {
        "bundle", "disk", "errors", "escape", "family", "finding", "frontmatter", "header", "lineage", "manifest",
        "payload", "regions", "release", "reports", "results", "significance", "units",
    },
    "checks": {"bundle", "card", "errors", "finding", "manifest", "payload", "release", "wanted"},
    "hub": {"disk", "errors", "manifest"},
    "wanted": {
        "bundle", "card", "disk", "errors", "family", "finding", "hub", "manifest", "regions", "release",
    },
    "live": {"errors", "family", "hub", "release", "talk", "wanted"},
    "plan": {"card", "errors", "hub", "manifest", "regions", "release", "wanted"},
    "push": {
        "card", "disk", "errors", "finding", "hub", "live", "manifest", "plan", "release", "talk", "wanted",
    },
    "verify": {"card", "finding", "hub", "release", "wanted"},
    "localhub": {"errors", "vocabulary"},
    "cli": {
        "adopt", "bundle", "card", "checks", "disk", "errors", "finding", "hub", "lineage", "localhub", "manifest",
        "payload", "plan", "push", "regions", "release", "units", "verify", "wanted",
    },
    "__init__": set(),
    "__main__": {"cli"},
}  # fmt: skip
"""Part of hala_release -> the parts that it imports."""

FOR_THE_PIPELINE = {"bundle", "disk", "errors", "located", "manifest", "payload", "talk", "units"}
"""The hand-over between the two is a directory: a stage needs the contract, the formats, and words for them."""

NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "base", "lib", "shared"}


def modules() -> list[Path]:
    return sorted(path for top in ("hala_release", "pipeline") for path in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it, also for types only."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = ".".join(package[: len(package) - level + 1]) if level else ""
                origin = ".".join(filter(None, [above, module]))
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Name(id="import_module" | "__import__")):
                yield f"by name in {path.relative_to(ROOT).as_posix()}"
            case _:
                pass


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "hala_release").parts[0].removesuffix(".py")


def parts_imported(path: Path) -> set[str]:
    """Parts of hala_release that a module imports; `from hala_release import __version__` is none."""
    dotted = [name.split(".") for name in imports(path)]
    return {steps[1] for steps in dotted if steps[0] == "hala_release" and len(steps) > 1} - {"__version__"}


def test_the_sweep_sees_the_whole_project() -> None:
    found = modules()
    assert len(found) >= 75
    assert {part_of(path) for path in found if path.is_relative_to(ROOT / "hala_release")} == BELOW.keys()
    assert sum(1 for path in found for _ in imports(path)) > 500


def test_foreign_libraries_come_in_through_their_doors() -> None:
    found: dict[str, set[str]] = {}
    for path in modules():
        for name in imports(path):
            library = name.partition(".")[0]
            if library in sys.stdlib_module_names | {"hala_release", "pipeline"} or library.startswith("by name"):
                continue
            place = path.relative_to(ROOT).as_posix()
            doors = DOORS.get(library, set())
            found.setdefault(library, set()).add(next((door for door in doors if place.startswith(door)), place))
    assert found == DOORS


def test_only_command_lines_import_by_name() -> None:
    found = {name for path in modules() for name in imports(path) if name.startswith("by name")}
    assert found == {"by name in hala_release/cli/__init__.py", "by name in pipeline/__main__.py"}


def test_parts_import_only_what_lies_below() -> None:
    found: dict[str, set[str]] = {part: set() for part in BELOW}
    for path in modules():
        if path.is_relative_to(ROOT / "hala_release"):
            found[part_of(path)] |= parts_imported(path) - {part_of(path)}
    assert found == BELOW


def test_the_table_has_no_circle() -> None:
    left = dict(BELOW)
    while ground := {part for part, below in left.items() if not below & left.keys()}:
        for part in ground:
            del left[part]
    assert not left


def test_nobody_imports_the_command_line_and_only_it_the_embedded_hub() -> None:
    assert {part for part, below in BELOW.items() if "cli" in below} == {"__main__"}
    assert {part for part, below in BELOW.items() if "localhub" in below} == {"cli"}


def test_the_pipeline_knows_the_contract_and_no_more() -> None:
    stages = [path for path in modules() if path.is_relative_to(ROOT / "pipeline")]
    assert len(stages) >= 50
    for path in stages:
        assert parts_imported(path) <= FOR_THE_PIPELINE, path


def test_the_release_layer_never_imports_the_pipeline() -> None:
    for path in modules():
        if path.is_relative_to(ROOT / "hala_release"):
            assert not [name for name in imports(path) if name.split(".")[0] in {"pipeline", "tests", "spaces"}], path


def test_no_module_is_called_after_nothing() -> None:
    names = {path.stem for path in modules()} | {path.parent.name for path in modules()}
    assert len(names) > 60
    assert not names & NO_NAMES
