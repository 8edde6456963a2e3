"""`fetch`: a model of the Hub, pinned by its commit, as a bundle, so that all that is made from it leads back to it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

import fsspec
from pydantic import Field

from hala_release.errors import HubError, HubMissing
from hala_release.manifest import ModelFacts, Record, RepoPath
from hala_release.payload.checkpoint import model_facts
from hala_release.units import human_bytes
from pipeline import storage
from pipeline.stage import Job, Stage, StageConfig
from pipeline.storage import join

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "LICENSE*", "NOTICE*", "USE_POLICY*")


class FetchConfig(StageConfig):
    """What the YAML of `fetch` may say."""

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """A model of the Hub; HF_ENDPOINT and HF_TOKEN decide which Hub, and as whom."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """Its commit."""
    files: tuple[str, ...] = WANTED
    """Patterns of the files that are fetched; the others are not asked for."""


class _Remote(Record):
    path: RepoPath
    size: int


def make(config: FetchConfig, job: Job) -> ModelFacts:
    """Copy what is wanted of the repository; what a run that was cut off has fetched whole stays.

    Raises:
        HubMissing: there is no such model or commit, or this token may not see it.
        HubError: the Hub cannot be read.
    """
    root = f"hf://{config.repo}@{config.revision}"
    try:
        remote = _listed(root, config)
        for one in remote:
            target = job.files / one.path
            if not target.exists() or target.stat().st_size != one.size:
                job.talk(f"fetching {one.path}, {human_bytes(one.size)}")
                storage.copy(join(root, one.path), str(target))
    except FileNotFoundError as error:
        raise HubMissing(
            f"{config.repo} has no commit {config.revision}, or this token may not see it",
            fix="correct `repo` and `revision`; for a gated model accept its terms on its page, and set HF_TOKEN",
        ) from error
    except Exception as error:  # the client of the Hub lets through what its HTTP and Xet libraries raise
        raise HubError(
            f"{config.repo} cannot be read: {type(error).__name__}: {error}", fix="run it again; what was fetched stays"
        ) from error
    return model_facts(job.files, sorted(one.path for one in remote))


def _listed(root: str, config: FetchConfig) -> list[_Remote]:
    system, place = fsspec.url_to_fs(root)
    found: dict[str, Any] = system.find(place, detail=True)
    listed = [_Remote(path=path.removeprefix(f"{place}/"), size=about["size"]) for path, about in sorted(found.items())]
    return [one for one in listed if any(PurePosixPath(one.path).match(pattern) for pattern in config.files)]


STAGE = Stage("fetch", FetchConfig, make, takes={}, tools=("fsspec",))
