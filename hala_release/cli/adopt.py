"""hala-release adopt"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hala_release.cli.output import Output, facts_words, output_options
from hala_release.errors import ConfigError
from hala_release.units import count, human_bytes

KINDS = click.Choice(["dataset", "model", "space", "results"])
BY_TASK = {
    "language": ("LANGUAGE", "Of the prompts: `ar` for all, or TASK=ar for one."),
    "data": ("TASK=DATA", "What a task asked: namespace/name@commit, or sha256:HEX of a file."),
    "title": ("TASK=TITLE", "What people call a task. Default: its name."),
    "metric": ("TASK=METRIC", "Default: acc_norm, or else the first with a standard error."),
    "items": ("TASK=N", "How many items a task of LightEval has that left no details."),
}
ONCE = {
    "dtype": ("DTYPE", "What the model computed in, where that is not written."),
    "backend": ("NAME", "What computed, with its version, for example `vllm 0.26.0`."),
    "harness_version": ("VERSION", "Of LightEval, which does not write it."),
    "chat_template": ("released|none", "Which was applied, where that is not written."),
    "model": ("NAME", "What the model is called, for example namespace/name."),
}


def results_options(command: Any) -> Any:  # noqa: ANN401 -- of click
    """Add the options that only results have."""
    for name, (metavar, words) in reversed({**BY_TASK, **ONCE}.items()):
        flag, many = "--" + name.replace("_", "-"), name in BY_TASK
        kind = click.Choice(["released", "none"]) if name == "chat_template" else None
        more: dict[str, Any] = {"type": kind} if kind else {"metavar": metavar}
        command = click.option(flag, name, multiple=many, help=f"Results: {words}", **more)(command)
    return click.option("--of", type=click.Path(path_type=Path), help="Results: the model's bundle.  [required]")(
        command
    )


@click.command()
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--kind", type=KINDS, required=True, help="What DIR holds.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle to make.")
@click.option(
    "--sort-by", metavar="COLUMN", help="Order JSON lines by this column. Default: `id`, where all rows have it."
)
@results_options
@output_options
def command(
    source: Path,
    kind: str,
    out: Path,
    sort_by: str | None,
    of: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,  # noqa: ANN401 -- strings, or tuples of them
) -> None:
    """Seal what another tool made.

    DIR is copied into a bundle that can be published. JSON lines become sorted Parquet shards; everything else is
    copied byte for byte. DIR may also be one data file.

    Results are what lm-eval or LightEval wrote: they are checked, bound to the model they were measured on, and kept
    without the benchmark's text. What the harness does not write is asked for.
    """
    from hala_release.adopt import adopt, adopt_results

    output = Output(as_json=as_json, quiet=quiet)
    told = {name: value for name, value in {"of": of, **given}.items() if value}
    if kind != "results" and told:
        flags = ", ".join("--" + name.replace("_", "-") for name in told)
        raise ConfigError(f"a {kind} takes no {flags}", fix="leave this out, or give --kind results")
    output.talk(f"reading {source}")
    if kind == "results":
        if of is None or sort_by:
            raise ConfigError(
                "results have no rows to sort" if sort_by else "nothing says which model these results are of",
                fix="leave out --sort-by" if sort_by else "name the model's bundle with --of",
            )
        adopted = adopt_results(source, of=of, out=out, said=_said(given), talk=output.talk)
    else:
        adopted = adopt(source, kind=kind, out=out, sort_by=sort_by, talk=output.talk)  # type: ignore[arg-type]  # click checks the choice
    bundle = adopted.bundle
    for path in adopted.left_out:
        output.talk(f"left out {path}: " + ("the card is rendered" if path.lower() == "readme.md" else "hidden"))
    manifest = bundle.manifest
    output.show(
        {"bundle": str(bundle.root), "manifest": manifest.model_dump(mode="json"), "left_out": adopted.left_out},
        [
            f"sealed {bundle.root}: {facts_words(manifest.facts)}, "
            f"{count(len(manifest.files), 'file')}, {human_bytes(bundle.size)}"
        ],
    )


def _said(given: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- a type that is imported with the command
    """Return the options as `evaluation.Said`; TASK=VALUE."""
    from hala_release.payload.evaluation import Said

    by_task: dict[str, Any] = {name: {} for name in BY_TASK}
    for name, found in by_task.items():
        for text in given[name]:
            task, sign, value = text.partition("=")
            if not sign and name == "language":
                task, value = "", text
            if not value or (not task and name != "language") or task in found:
                raise ConfigError(
                    f"--{name} {text}: not TASK=VALUE, or given twice", fix="see `hala-release adopt --help`"
                )
            found[task] = value
    once: dict[str, Any] = {name: given[name] or "" for name in ONCE}
    return Said(**by_task, **once)
