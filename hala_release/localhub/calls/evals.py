"""Evaluation results in `.eval_results/*.yaml`: read as the Hub reads them, or told what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hala_release.localhub import git
from hala_release.localhub.calls import cards
from hala_release.localhub.store import Repo, Store

FOLDER = ".eval_results/"
LONGEST = 1 << 20
REGISTERED = "benchmark:official"
KEYS = {
    "": ({"dataset", "value"}, {"verifyToken", "date", "source", "notes"}),
    "dataset": ({"id", "task_id"}, {"revision"}),
    "source": ({"url"}, {"name", "user", "org"}),
}
"""Of an entry and of its parts: the keys that it must have, and those that it may have."""


def of(store: Store, repo: Repo, commit: str) -> list[dict[str, Any]]:
    """Every entry of every file as `{filename, data}`; a file with anything wrong is one `{filename, error}`."""
    top = git.check(repo.git_dir, [f"{commit}:{FOLDER.rstrip('/')}"])[0]
    if top is None or top[1] != "tree":
        return []
    entries = git.tree(repo.git_dir, top[0], recursive=False, under=FOLDER.rstrip("/"))
    found: list[dict[str, Any]] = []
    for entry in entries:
        if entry.kind != "blob" or not entry.path.endswith((".yaml", ".yml")):
            continue
        content = git.contents(repo.git_dir, [entry.oid])[entry.oid] if entry.size <= LONGEST else b""
        try:
            results = cards.load(content.decode())
        except (cards.CardInvalid, UnicodeDecodeError) as error:
            found.append({"filename": entry.path, "error": f"not YAML: {error}"})
            continue
        wrong = list(_wrong(store, results)) if entry.size <= LONGEST else [f"longer than {LONGEST} bytes"]
        if wrong:
            found.append({"filename": entry.path, "error": "; ".join(wrong)})
        else:
            found += [{"filename": entry.path, "data": result} for result in results]
    return found


def _wrong(store: Store, results: Any) -> Iterator[str]:  # noqa: ANN401 - any YAML value
    if not isinstance(results, list) or not results:
        yield "must be a list of results"
        return
    for at, result in enumerate(results):
        problems = [*_wrong_keys(result), *_wrong_values(result)] if isinstance(result, dict) else ["not a mapping"]
        yield from (f"[{at}]: {problem}" for problem in problems or _not_a_benchmark(store, result["dataset"]))


def _wrong_keys(result: dict[str, Any]) -> Iterator[str]:
    for part, (needed, possible) in KEYS.items():
        value = result.get(part) if part else result
        if part == "source" and value is None:
            continue
        if not isinstance(value, dict):
            yield f"{part} must be a mapping"
            continue
        prefix = f"{part}." if part else ""
        yield from (f"{prefix}{key} is missing" for key in sorted(needed - value.keys()))
        yield from (f"{prefix}{key} is not a known key" for key in sorted(value.keys() - needed - possible))


def _wrong_values(result: dict[str, Any]) -> Iterator[str]:
    value = result.get("value")
    if "value" in result and (isinstance(value, bool) or not isinstance(value, (int, float))):
        yield f"value must be a finite number, not {value!r}"
    parts = {"": result, **{key: result[key] for key in ("dataset", "source") if isinstance(result.get(key), dict)}}
    for part, values in parts.items():
        for key in ("id", "task_id", "revision", "url", "name", "user", "org", "verifyToken", "date", "notes"):
            if key in values and not (isinstance(values[key], str) and values[key].strip()):
                yield f"{f'{part}.' if part else ''}{key} must be a text"


def _not_a_benchmark(store: Store, dataset: dict[str, str]) -> Iterator[str]:
    """Why results on a dataset count nowhere.

    A dataset here is a registered benchmark when its card has the tag `benchmark:official`. On the real Hub only the
    Hub's staff can set that tag, so a dataset that is registered here need not be registered there.
    """
    benchmark = store.find("dataset", dataset["id"])
    head = "refs/heads/main"
    card = cards.of(benchmark, head) if benchmark and not benchmark.private else {}
    if benchmark is None or REGISTERED not in cards.texts(card, "tags"):
        yield f"{dataset['id']} is not a registered benchmark"
        return
    declared = git.check(benchmark.git_dir, [f"{head}:eval.yaml"])[0]
    if declared is None or declared[1] != "blob" or declared[2] > LONGEST:
        return
    try:
        spoken = cards.load(git.contents(benchmark.git_dir, [declared[0]])[declared[0]].decode("utf-8", "replace"))
    except cards.CardInvalid:
        yield f"the eval.yaml of {dataset['id']} cannot be read"
        return
    tasks = spoken.get("tasks") if isinstance(spoken, dict) else None
    ids = [task.get("id") for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    if dataset["task_id"] not in ids:
        yield f"{dataset['id']} has no task {dataset['task_id']!r} in its eval.yaml"
