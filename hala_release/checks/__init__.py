"""What a reader of the published repositories would trip over. Each check is a small function; the lists document them.

A check takes one subject and yields findings. `run` applies every check to every artifact; what is not a sound
bundle becomes a finding too, so that all problems show at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError
from hala_release.finding import Finding
from hala_release.manifest import Kind
from hala_release.release import Artifact, Gates, Release, load
from hala_release.wanted import Wanted, opened


class Subject(NamedTuple):
    """One artifact with its bundle, in its release."""

    release: Release
    artifact: Artifact
    bundle: Bundle
    root: Path
    """The directory that the release's paths start from."""
    wanted: Wanted
    """With its card."""

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
    there = opened(release, root, rehash=rehash)
    found = [*there.findings, *findings(release, there.wanted, root)]
    return sorted(found, key=lambda finding: finding.level)


def lint(path: Path, kind: Kind) -> list[Finding]:
    """Return what is wrong with the cards of a release, or with one README.md.

    Args:
        kind: of the repository, for a single card.

    Raises:
        ConfigError: there is no such file.
    """
    from hala_release.card.lint import Page
    from hala_release.card.lint import lint as lint_page
    from hala_release.checks import card

    if path.suffix == ".md":
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}", fix="name a card in UTF-8") from error
        return lint_page(Page(text, kind, path.absolute().parent.name))
    release = load(path)
    there = opened(release, path.parent)
    subjects = [Subject(release, want.artifact, want.bundle, path.parent, want) for want in there.wanted]
    found = [finding for subject in subjects for check in card.CHECKS for finding in check(subject)]
    return [*there.findings, *found]


def findings(release: Release, wanted: Sequence[Wanted], root: Path) -> list[Finding]:
    """Return the findings on artifacts whose bundles are sound, errors first."""
    from hala_release.checks import card, dataset, model, terms

    by_kind: dict[str, tuple[Check, ...]] = {"dataset": dataset.CHECKS, "model": model.CHECKS, "space": ()}
    subjects = [Subject(release, want.artifact, want.bundle, root, want) for want in wanted]
    found = [
        finding
        for subject in subjects
        for check in (*terms.CHECKS, *by_kind[subject.artifact.kind], *card.CHECKS)
        for finding in check(subject)
    ]
    return sorted(found, key=lambda finding: finding.level)


def stopping(findings: list[Finding], gates: Gates) -> list[Finding]:
    """Return the findings that stop a push."""
    return [finding for finding in findings if finding.level == "error" or gates.fail_on == "warning"]
