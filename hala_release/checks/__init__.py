"""What a reader of the published repositories would trip over. Each check is a small function; the lists document them.

A check takes one subject and yields findings. `run` applies every check to every artifact; what is not a sound
bundle becomes a finding too, so that all problems show at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError
from hala_release.finding import Finding
from hala_release.release import Artifact, Gates, Release


class Subject(NamedTuple):
    """One artifact with its bundle, in its release."""

    release: Release
    artifact: Artifact
    bundle: Bundle
    root: Path
    """The directory that the release's paths start from."""

    @property
    def paths(self) -> set[str]:
        """Paths of the payload."""
        return {entry.path for entry in self.bundle.manifest.files}


Check = Callable[[Subject], Iterator[Finding]]


def run(release: Release, root: Path, *, rehash: bool = False) -> list[Finding]:
    """Check every artifact of a release, and return the findings, errors first.

    Args:
        root: the directory that the release's paths start from.
        rehash: read every payload file again, also those that did not change since they were last read.
    """
    from hala_release import card
    from hala_release.checks import dataset, model, terms

    by_kind: dict[str, tuple[Check, ...]] = {"dataset": dataset.CHECKS, "model": model.CHECKS, "space": ()}
    findings: list[Finding] = []
    for artifact in release.in_order:
        try:
            bundle = Bundle.open(artifact.bundle_under(root))
            bundle.verify(rehash=rehash)
            card.render(artifact, bundle, release)
        except (ContractError, ConfigError) as error:
            findings.append(Finding(level="error", where=artifact.repo, message=str(error), fix=error.fix))
            continue
        subject = Subject(release, artifact, bundle, root)
        for check in (*terms.CHECKS, *by_kind[artifact.kind]):
            findings += check(subject)
    return sorted(findings, key=lambda finding: finding.level)


def stopping(findings: list[Finding], gates: Gates) -> list[Finding]:
    """Return the findings that stop a push."""
    return [finding for finding in findings if finding.level == "error" or gates.fail_on == "warning"]
