"""What the user sees: data on stdout, talk on stderr. Three modes: human, one JSON document, quiet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from hala_release.errors import CheckFailed, HalaError
from hala_release.finding import Finding
from hala_release.units import count

if TYPE_CHECKING:
    from hala_release.manifest import Facts

P = ParamSpec("P")
R = TypeVar("R")


class Output:
    """Prints in the mode that the user chose."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def talk(self, sentence: str) -> None:
        """Say what is being done."""
        if not self.quiet:
            click.echo(sentence, err=True)

    def show(self, document: Any, lines: Iterable[str]) -> None:  # noqa: ANN401
        """Print the result: the document with --json, else the lines; with --quiet neither."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        elif not self.quiet:
            for line in lines:
                click.echo(line)


def output_options(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command `--json` and `--quiet`."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)
    return click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")(command)


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Return findings as a reader sees them."""
    return [
        line
        for finding in findings
        for line in (f"{finding.level}: {finding.where}: {finding.message}", f"  fix: {finding.fix}")
    ]


def show_error(error: HalaError) -> None:
    """Print an error: a sentence and its fix on stderr, or with --json a document on stdout."""
    findings = error.findings if isinstance(error, CheckFailed) else ()
    if "--json" in sys.argv:
        document: dict[str, object] = {"type": type(error).__name__, "message": str(error), "fix": error.fix}
        if findings:
            document["findings"] = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"error": document}, ensure_ascii=False, indent=2))
        return
    for line in finding_lines(findings):
        click.echo(line, err=True)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
    if error.fix:
        click.echo(f"  fix: {error.fix}", err=True)


def shown(text: str) -> str:
    """Return text of a file so that it steers no terminal."""
    return text if text.isprintable() else ascii(text)


def facts_words(facts: Facts) -> str:
    """Return what a bundle holds, in a few words."""
    match facts.kind:
        case "dataset":
            return f"dataset of {count(facts.rows, 'row')}"
        case "model":
            return f"model of {facts.total_parameters:,} parameters"
        case "space":
            return f"Space on {shown(facts.sdk)}"
        case "results":
            return f"{count(len(facts.scores), 'score')} of {shown(facts.harness)}"
