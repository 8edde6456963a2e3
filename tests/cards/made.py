"""Cards to test with: facts that were frozen, results that were made up, and a release around them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hala_release import card, regions, results
from hala_release.adopt import adopt
from hala_release.bundle import Bundle, seal
from hala_release.card import lint
from hala_release.family import Member, family
from hala_release.manifest import (
    DatasetFacts,
    Manifest,
    ModelFacts,
    Provenance,
    ResultsFacts,
    Score,
    weights_sha256,
)
from hala_release.release import load
from tests import factories

FROZEN = Path(__file__).parent.parent / "contract" / "v1"

RUNS = Path(__file__).parents[2] / "pipeline" / "runs"
DECEPTIVE = "\u202egnirts"
HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "`code`",
    "[click](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "two\nlines",
    "---",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "name: yaml",
    "# heading",
    "no",
    "1.10",
    DECEPTIVE,
    "back\\slash",
    "'\"",
    "عمود",
)


def sealed(place: Path, facts: DatasetFacts | ResultsFacts) -> None:
    """Write a manifest of facts without files."""
    place.mkdir()
    manifest = Manifest(name=place.name, facts=facts, files=(), provenance=Provenance(stage="test"))
    (place / "manifest.json").write_bytes(manifest.to_json())


def frozen(place: Path, name: str) -> None:
    """Put a frozen manifest there."""
    place.mkdir()
    shutil.copyfile(FROZEN / f"{name}.json", place / "manifest.json")


CORPUS = {
    "kind": "dataset",
    "repo": "corpus",
    "bundle": "corpus",
    "title": "The corpus",
    "summary": "What the rows are.\n\nAnd where they come from.\n",
    "summary_ar": "ما هذه الأسطر.\n",
    "task_categories": ["translation"],
    "sources": ["Open-Orca/OpenOrca"],
    "tags": ["arabic"],
}
MODEL = {
    "kind": "model",
    "repo": "model",
    "bundle": "model",
    "summary": "What the model does.",
    "base": "LiquidAI/LFM2-350M",
    "relation": "finetune",
    "datasets": ["corpus", "other/pairs"],
    "license": {"id": "other", "name": "lfm1.0", "link": "LICENSE"},
    "tags": ["arabic", "lfm2"],
}


def sealed_with(place: Path, facts: ResultsFacts, samples: Mapping[str, Mapping[int, float]]) -> None:
    """Seal results with what each item gave, by task."""
    for task, values in samples.items():
        lines = [
            json.dumps({"item": item, "prompt_sha256": "0" * 64, "value": value}) for item, value in values.items()
        ]
        path = place / "files" / "samples" / f"{task}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    seal(place, name=place.name, facts=facts, provenance=Provenance(stage="test"), digests={})


def rendered(place: Path, artifact: dict[str, Any], **changes: Any) -> str:  # noqa: ANN401
    """Return the card of one artifact: it renders alike twice, merges with itself to itself, and is fit to be read."""
    path = factories.write_release(place / "release.yaml", namespace="hala", artifacts=[artifact], **changes)
    release = load(path)
    first = release.artifacts[0]
    bundle = Bundle.open(place / first.bundle)
    member = Member(first, bundle, results.measured(first, bundle, place))
    whole = family(release, [member], place)
    text = card.render(member, whole)
    assert card.render(member, whole) == text
    if first.kind != "space":  # its own header and words are of its bundle
        assert regions.merge(text, text, where="card") == (text, ())
    errors = [found.message for found in lint.lint(lint.Page(text, first.kind, "card")) if found.level == "error"]
    assert not errors, errors
    return text


def results_of(place: Path, **changes: Any) -> ResultsFacts:  # noqa: ANN401
    """What was measured on the frozen model, with facts changed."""
    model = Bundle.open(place / "model").manifest
    assert isinstance(model.facts, ModelFacts)
    exams = Score(
        task="hala_exams", title="EXAMS", version="1", metric="acc_norm", value=0.3692, out_of=1, stderr=0.0204, n=562,
        shots=0, language="ar", data="OALL/Arabic_EXAMS@bc7a29346dbcaa16a8cd883b1f3e681ab2b7ff2a",
    )  # fmt: skip
    mine = exams.model_copy(
        update={
            "task": "translation-mine",
            "title": "Mine",
            "metric": "chrf++",
            "value": 64.2,
            "out_of": 100,
            "stderr": None,
            "n": 1012,
            "language": "en-ar",
            "data": f"sha256:{'5' * 64}",
            "signature": "nrefs:1|case:mixed",
        }
    )
    known: dict[str, Any] = {
        "weights_sha256": weights_sha256(model.files),
        "tokenizer_sha256": model.facts.tokenizer_sha256,
        "chat_template_sha256": model.facts.chat_template_sha256,
        "harness": "lm-eval 0.4.13, sacreBLEU 2.6.0",
        "backend": "transformers 5.17.0",
        "dtype": "bfloat16",
        "scores": (exams, mine.model_copy(update={"metric": "bleu", "value": 48.25, "stderr": 0.51}), mine),
        "note": "Measured with tasks of this project, as means over all items: not comparable with leaderboards.",
    }
    return ResultsFacts(**{**known, **changes})


def hala(folder: Path) -> Path:
    """Make the family of pipeline/runs/hala.release.yaml, seven cards, of toys and made-up answers."""
    document = yaml.safe_load((RUNS / "hala.release.yaml").read_text(encoding="utf-8"))
    shutil.copy(RUNS / "hala.reported.yaml", folder)
    factories.write_rows(folder / "rows" / "train.jsonl", factories.conversations(40))
    adopt(folder / "rows", kind="dataset", out=folder / "corpus")
    for number, artifact in enumerate(document["artifacts"]):
        if artifact["kind"] == "dataset":
            artifact["bundle"] = "corpus"
            continue
        name = artifact["repo"]
        raw = factories.write_model(folder / "raw" / name)
        factories.write_tensors(raw / "model.safetensors", {"embed": ("BF16", (16, 8 * (number + 1)))})
        artifact["bundle"] = name
        model = adopt(raw, kind="model", out=folder / name).bundle
        if "results" in artifact:
            artifact |= {"results": [f"{name}-results"], "base_results": [f"{name}-base-results"]}
            right = {item: float(item % 100 < 30 + 4 * number) for item in range(500)}
            base = {item: float(item % 100 < 22 + 5 * number) for item in range(500)}
            evaluated(folder / f"{name}-results", model, right)
            evaluated(folder / f"{name}-base-results", model, base, model=artifact["base"], weights_sha256="0" * 64)
    document["namespace"] = "hala"
    path = folder / "release.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def evaluated(place: Path, of: Bundle, values: Mapping[int, float], **changes: Any) -> None:  # noqa: ANN401
    """Seal results of one task, which right and wrong answers give."""
    facts = of.manifest.facts
    assert isinstance(facts, ModelFacts)
    share = sum(values.values()) / len(values)
    score = Score(
        task="hala_exams", title="EXAMS", version="1", metric="acc_norm", value=share, out_of=1,
        stderr=(share * (1 - share) / (len(values) - 1)) ** 0.5, n=len(values), shots=0, language="ar",
        data="OALL/Arabic_EXAMS@bc7a29346dbcaa16a8cd883b1f3e681ab2b7ff2a",
    )  # fmt: skip
    known: dict[str, Any] = {
        "weights_sha256": weights_sha256(of.manifest.files),
        "tokenizer_sha256": facts.tokenizer_sha256,
        "chat_template_sha256": facts.chat_template_sha256,
        "harness": "lm-eval 0.4.13",
        "backend": "transformers 5.17.0",
        "dtype": "bfloat16",
        "scores": (score,),
    }
    sealed_with(place, ResultsFacts(**{**known, **changes}), {"hala_exams": values})
