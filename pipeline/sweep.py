"""How far to merge: merge a tuned model with its base at several t, score each, and draw score over t.

    python -m pipeline.sweep --merge CONFIG --evaluate CONFIG --from tuned=BUNDLE --from base=BUNDLE --t 0,0.25,0.5,1

    out/sweep/DIGEST/sweep.json   every score with its t, and the digests of what was measured
    out/sweep/DIGEST/sweep.png    a line for each task, with 95% intervals

Each step is a run of the stages `merge` and `evaluate`, so what was done before is found. At 0 and 1 nothing is merged:
the parents themselves are scored.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, HalaError
from hala_release.manifest import ResultsFacts
from pipeline import storage
from pipeline.charts import png
from pipeline.stage import say

NORMAL = 1.96
"""Standard errors in half of a 95% interval."""


class _StepFailed(Exception):
    """A stage ended with this exit code, after it said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main(arguments: list[str] | None = None) -> int:
    """Run the steps of the sweep; where the result lies goes to stdout, everything else to stderr."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sweep", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--merge", type=Path, required=True, metavar="CONFIG", help="its `t` does not count")
    parser.add_argument("--evaluate", type=Path, required=True, metavar="CONFIG")
    parser.add_argument(
        "--from", dest="inputs", action="append", default=[], metavar="ROLE=BUNDLE", help="tuned=… and base=…"
    )
    parser.add_argument(
        "--t", default="0,0.25,0.5,0.75,1", help="0 is the base, 1 the tuned model (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where results lie (default: out)")
    given = parser.parse_args(arguments)
    try:
        inputs = _inputs(given.inputs)
        points = [_point(t, given.merge, given.evaluate, inputs, given.out) for t in _values(given.t)]
        root = _write(points, given.out)
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    except _StepFailed as failed:
        return failed.code
    sys.stdout.write(f"{root}\n")
    return 0


def _inputs(given: Sequence[str]) -> dict[str, str]:
    found = dict(text.partition("=")[::2] for text in given)
    if found.keys() != {"tuned", "base"} or len(given) != len(found):
        raise ConfigError(
            "a sweep goes from one model to another", fix="give `--from tuned=BUNDLE` and `--from base=BUNDLE`"
        )
    return found


def _values(text: str) -> list[float]:
    try:
        values = sorted({float(one) for one in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"--t {text}: not all of it are numbers", fix="write --t 0,0.5,1") from error
    if len(values) < 2 or not all(0 <= one <= 1 for one in values):
        raise ConfigError(f"--t {text}: two values or more, from 0 to 1", fix="write --t 0,0.5,1")
    return values


def _point(t: float, merge: Path, evaluate: Path, inputs: Mapping[str, str], out: Path) -> dict[str, Any]:
    say(f"t = {t:g}")
    if t in {0, 1}:
        model = inputs["tuned" if t else "base"]
    else:
        roles = [word for role, path in inputs.items() for word in ("--from", f"{role}={path}")]
        model = _run("merge", str(merge), *roles, "--set", f"t={t}", "--out", str(out))
    results = Bundle.open(Path(_run("evaluate", str(evaluate), "--from", f"model={model}", "--out", str(out))))
    facts = results.manifest.facts
    if not isinstance(facts, ResultsFacts):
        raise ConfigError(f"{results.root} holds no scores", fix="give --evaluate a file of pipeline/configs/evaluate")
    return {
        "t": t,
        "weights_sha256": facts.weights_sha256,
        "results_sha256": results.manifest_sha256,
        "harness": facts.harness,
        "note": facts.note,
        "scores": [score.model_dump(mode="json") for score in facts.scores],
    }


def _run(*arguments: str) -> str:
    """Run a stage, and return where its result lies; what it says goes to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise _StepFailed(done.returncode)
    return done.stdout.strip()


def _write(points: Sequence[Mapping[str, Any]], out: Path) -> Path:
    document = json.dumps({"points": points}, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"
    root = out / "sweep" / hashlib.sha256(document).hexdigest()[:16]
    for name, data in (("sweep.json", document), ("sweep.png", chart(points))):
        with storage.writing(str(root / name)) as file:
            file.write(data)
    return root


def chart(points: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw score over t, of 100, with 95% intervals, as PNG; the same scores give the same bytes."""
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[float, float, float]]] = {}
    for point in points:
        for score in point["scores"]:
            scale = 100 / score["out_of"]
            half = NORMAL * scale * (score["stderr"] or 0.0)
            name = f"{score['title']} ({score['metric']})"
            lines.setdefault(name, []).append((point["t"], scale * score["value"], half))
    figure = Figure(figsize=(7, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for name, values in lines.items():
        t, score, half = zip(*values, strict=True)
        axes.errorbar(t, score, yerr=half, label=name, marker="o", markersize=4, linewidth=1.2, capsize=3)
    axes.set_xlabel("t (0: base, 1: tuned)")
    axes.set_ylabel("score of 100, with 95% interval")
    axes.set_xticks([point["t"] for point in points])
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


if __name__ == "__main__":
    sys.exit(main())
