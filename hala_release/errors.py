"""Every error that this project raises on purpose.

An error is a sentence: what is wrong and where, then `fix`, what to do about it. Only `main()` catches it; the class
decides the exit code.

    HalaError 1
    ├── ConfigError 2           release.yaml or the command line is wrong
    ├── ContractError 3         a directory is not a sound bundle
    │   ├── BundleIncomplete        no manifest: nobody finished it
    │   ├── BundleChanged           its files are not those that were sealed
    │   ├── SchemaTooNew            written by a newer hala-release
    │   └── PayloadInvalid          a file is not what its format promises
    ├── CheckFailed 4           a reader would trip over something; carries the findings
    ├── HubError 5              the Hub refused, or cannot be reached
    │   ├── HubDenied               no token, a wrong one, or one without the right
    │   ├── HubMissing              no such repository, revision or file
    │   ├── HubMoved                the Hub changed under us
    │   ├── TagTaken                the version's tag names something else
    │   ├── HubUnavailable          no answer, or an answer of the 5xx kind
    │   └── SpaceFailed             a Space does not run, or does not answer
    ├── EngineMissing 6         a heavy library is not in this environment
    └── Unfinished 7            tasks of a stage failed, or a scheduler still has them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hala_release.finding import Finding


class HalaError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class ConfigError(HalaError):
    """The release file or the command line is wrong."""

    exit_code = 2


class ContractError(HalaError):
    """A directory is not a sound bundle."""

    exit_code = 3


class BundleIncomplete(ContractError):
    """The manifest is missing, so whoever made the directory did not finish."""


class BundleChanged(ContractError):
    """The files are not those that were sealed: changed, missing or added."""


class SchemaTooNew(ContractError):
    """The manifest was written by a newer hala-release."""


class PayloadInvalid(ContractError):
    """A payload file is not what its format promises."""


class CheckFailed(HalaError):
    """A reader of the published repository would trip over something."""

    exit_code = 4

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.findings = tuple(findings)


class HubError(HalaError):
    """The Hub refused, or did something unexpected."""

    exit_code = 5


class HubDenied(HubError):
    """There is no token, it is wrong, or it may not do this."""


class HubMissing(HubError):
    """The repository, revision or file does not exist, or this token may not see it."""


class HubMoved(HubError):
    """The repository changed since it was read."""


class TagTaken(HubError):
    """The tag of this version already names other content; tags never move."""


class HubUnavailable(HubError):
    """The Hub could not be reached, or failed on its side."""


class SpaceFailed(HubError):
    """A Space was built and does not run, or runs and does not answer."""


class EngineMissing(HalaError):
    """A heavy library is not installed in this environment."""

    exit_code = 6


class Unfinished(HalaError):
    """Tasks of a stage failed, or a scheduler still has them; the same command goes on."""

    exit_code = 7
