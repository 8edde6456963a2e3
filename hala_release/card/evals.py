"""The results behind a card's numbers as others read them: one file of ours, `model-index`, `.eval_results/`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from hala_release.family import Member
from hala_release.manifest import ResultsFacts, Score
from hala_release.release import ModelArtifact
from hala_release.results import Measured

NAME = "evals/results.json"
FOLDER = ".eval_results/"
"""Entries of leaderboards, of whoever wrote them."""
LEADERBOARDS = f"{FOLDER}hala-release-"
"""How ours begin."""
_PAIR = re.compile(r"[a-z]{2,3}-[a-z]{2,3}")
"""Two languages; a region, as in `ar-EG`, is written in capitals."""
_OF_THE_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)@([0-9a-f]{40})")


def files(member: Member) -> dict[str, bytes]:
    """Return the result files of a model: everything that its card says of scores, and entries of leaderboards."""
    document = {
        "schema": 1,
        "results": [_published(one) for one in member.results.own],
        "compared_with": [
            {"name": other.name, "base": other.is_base, "results": [_published(one) for one in other.measured]}
            for other in member.results.others
        ],
    }
    entries = {
        f"{LEADERBOARDS}{name}.yaml": yaml.safe_dump(entry, sort_keys=False, allow_unicode=True).encode()
        for name, entry in _entries(member)
    }
    return {NAME: (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode(), **entries}


def benchmarks(artifact: ModelArtifact, scores: tuple[Score, ...]) -> Mapping[str, str]:
    """Return the files of leaderboards by path, each with the dataset that has to be a registered benchmark."""
    found = {}
    for score in scores:
        if score.task in artifact.eval_results and (hub := _OF_THE_HUB.fullmatch(score.data)):
            found[f"{LEADERBOARDS}{score.task}.yaml"] = hub[1]
    return found


def model_index(member: Member, title: str) -> list[dict[str, Any]]:
    """Return the scores in the form that the Hub has read for years; error, items and harness are in `args`."""
    measured = [(score, one.facts) for one in member.results.own for score in one.facts.scores]
    results = []
    for task in dict.fromkeys(score.task for score, _ in measured):
        scores = [(score, facts) for score, facts in measured if score.task == task]
        first = scores[0][0]
        results.append(
            {
                "task": {"type": "translation" if _PAIR.fullmatch(first.language) else "text-generation"},
                "dataset": _dataset(first),
                "metrics": [_metric(score, facts) for score, facts in scores],
            }
        )
    return [{"name": title, "results": results}] if results else []


def _published(one: Measured) -> dict[str, Any]:
    return {"manifest_sha256": one.bundle.manifest_sha256, **one.facts.model_dump(mode="json")}


def _dataset(score: Score) -> dict[str, Any]:
    if hub := _OF_THE_HUB.fullmatch(score.data):
        return {"type": hub[1], "name": score.title, "config": score.task, "revision": hub[2]}
    return {"type": score.task, "name": score.title}


def _metric(score: Score, facts: ResultsFacts) -> dict[str, Any]:
    said = {
        "stderr": score.stderr,
        "n": score.n,
        "num_few_shot": score.shots,
        "harness": facts.harness,
        "task": score.task,
        "task_version": score.version,
        "prompt_language": score.language,
        "out_of": score.out_of,
    }
    return {
        "type": score.metric,
        "name": score.metric,
        "value": score.value,
        "args": {key: value for key, value in said.items() if value is not None},
    }


def _entries(member: Member) -> list[tuple[str, list[dict[str, Any]]]]:
    artifact = member.artifact
    if not isinstance(artifact, ModelArtifact):
        return []
    found = []
    for one in member.results.own:
        for score in one.facts.scores:
            task = artifact.eval_results.get(score.task)
            hub = _OF_THE_HUB.fullmatch(score.data)
            if task and hub:
                notes = f"{score.metric}, {score.shots}-shot, prompt in {score.language}, {one.facts.harness}"
                entry = {
                    "dataset": {"id": hub[1], "task_id": task, "revision": hub[2]},
                    "value": round(score.value * 100 / score.out_of, 4),
                    "notes": notes,
                }
                found.append((score.task, [entry]))
    return found
