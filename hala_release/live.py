"""A Space after its commit: wait until it runs, ask it, take it back. The only import of gradio_client."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import CancelledError
from typing import Any

import httpx
from gradio_client import Client
from gradio_client.exceptions import AppError, AuthenticationError
from gradio_client.utils import InvalidAPIEndpointError, QueueError, TooManyRequestsError

from hala_release.errors import HubError, HubUnavailable, SpaceFailed
from hala_release.family import Family
from hala_release.hub import Hub, Runtime
from hala_release.release import SpaceArtifact
from hala_release.talk import Talk, silence
from hala_release.wanted import HUB_OWNED

PATIENCE = 3600.0
"""Seconds that a Space may take from its commit to its first answer; most of it is the installation of PyTorch."""
ANSWER = 300.0
"""Seconds that an answer may take; the first one loads a model."""
TOKENS = 24
"""Tokens of the answer that is asked for."""
POLL = 2.0
GRACE = 30.0
"""Seconds in which a Space that is started again may still be called broken."""
_BROKEN = ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR")
_ASLEEP = ("STOPPED", "PAUSED", "SLEEPING")
_SENTENCE = {"ar": "Good morning. How are you today?", "en": "صباح الخير. كيف حالك اليوم؟"}
"""What is given to be translated into a language."""


_WRONG = (
    *(AppError, AuthenticationError, InvalidAPIEndpointError, QueueError, TooManyRequestsError),
    *(httpx.HTTPError, CancelledError, TimeoutError),
    *(ValueError, KeyError, TypeError),  # what answers is another app
)


def prove(
    artifact: SpaceArtifact,
    repo: str,
    commit: str,
    family: Family,
    hub: Hub,
    *,
    is_new: bool,
    talk: Talk = silence,
    patience: float = PATIENCE,
) -> None:
    """Return when a Space runs a commit and answers, or when this Hub does not run Spaces of its kind.

    Args:
        is_new: nobody has seen it yet; such a one is started where it is asleep, others were put to sleep by somebody.

    Raises:
        SpaceFailed: it does not run, or does not answer. It is as it was before; the error has the end of its log.
    """
    try:
        url = started(repo, commit, hub, is_new=is_new, talk=talk, patience=patience)
        if url and artifact.is_app:
            talk(f"asking {repo} a question and for a translation")
            ask(artifact, url, family, hub.key_of_apps())
    except SpaceFailed as failed:
        back = _taken_back(repo, commit, hub, talk, patience)
        private = family.release.visibility == "private" and artifact.is_app
        raise SpaceFailed(f"{failed}\n{back}", fix=_FIX_PRIVATE if private else failed.fix) from failed


def started(
    repo: str, commit: str, hub: Hub, *, is_new: bool, talk: Talk = silence, patience: float = PATIENCE
) -> str | None:
    """Wait until a Space runs a commit, and return the address of its app; None where it is not to run.

    Raises:
        SpaceFailed: it cannot be built, it stopped, or the patience is over; has the end of its log.
    """
    began, told, woken, tried = time.monotonic(), "", False, False
    while True:
        waited = time.monotonic() - began
        try:
            now = hub.runtime(repo)
        except HubUnavailable:
            if waited > patience:
                raise
            time.sleep(POLL)
            continue
        if now.stage != told:
            talk(f"{repo}: {_SAID.get(now.stage, now.stage)}")
            told = now.stage
        about_this = now.commit == commit or (now.commit is None and waited > 60)
        if now.stage == "RUNNING" and about_this:
            return now.url
        if now.stage in _ASLEEP and not woken:
            woken = True
            if now.stage == "PAUSED" and not (is_new or hub.is_here):
                talk(f"{repo} was paused by somebody, so it is not started and not asked")
                return None
            if not hub.restart(repo):
                talk(f"this Hub does not run such Spaces, so {repo} is not asked")
                return None
        elif now.stage in _BROKEN and about_this:
            if tried or waited > GRACE:
                raise _failed(repo, now, hub)
            if not woken:  # it broke before this push, which is a second try
                woken = hub.restart(repo)
        tried = tried or now.stage not in _BROKEN
        if waited > patience:
            raise SpaceFailed(
                f"{repo} does not run after {patience:.0f} s: {now.stage}", fix=f"look at {hub.url('space', repo)}"
            )
        time.sleep(POLL)


def ask(artifact: SpaceArtifact, url: str, family: Family, token: str | None = None) -> None:
    """Ask the app at an address which release it shows, a question in Arabic, and for a translation each way it offers.

    Raises:
        SpaceFailed: it does not answer, says nothing, or shows another release.
    """
    release = family.release
    try:
        client = Client(url, token=token, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 60.0})
        try:
            about = _answer(client, "/about")
            pins = {name: family.pins[name] for name in map(release.repo_id, artifact.models)}
            shown = about["models"]
            if about["version"] != release.version or any(shown.get(name) != pin for name, pin in pins.items()):
                raise SpaceFailed(f"{url} shows {about}, and not version {release.version} with {pins}", fix=_FIX)
            if artifact.chat:
                _said(_answer(client, "/chat", message=artifact.examples["ar"][0], max_tokens=TOKENS), "a question")
            for into in artifact.translate:
                _said(_answer(client, "/translate", text=_SENTENCE[into], into=into), f"a translation into {into}")
        finally:
            client.close()
    except _WRONG as error:
        raise SpaceFailed(f"{url} runs and does not answer: {type(error).__name__}: {error}", fix=_FIX) from error


_FIX_PRIVATE = "give the Space a secret HF_TOKEN that may read its private models, then push again"
_FIX = "try the Space by hand, correct it, and push again"
_SAID = {
    "BUILDING": "being built",
    "APP_STARTING": "built, starting",
    "RUNNING": "running",
    "RUNNING_BUILDING": "being built, while the former one runs",
    "RUNNING_APP_STARTING": "built, starting, while the former one runs",
    "PAUSED": "paused",
}


def _answer(client: Client, name: str, **values: object) -> Any:  # noqa: ANN401 -- what an endpoint returns is its own
    return client.submit(**values, api_name=name).result(timeout=ANSWER)


def _said(answer: object, what: str) -> None:
    if not isinstance(answer, str) or not answer.strip():
        raise SpaceFailed(f"the Space was asked for {what} and said nothing", fix=_FIX)


def _failed(repo: str, now: Runtime, hub: Hub) -> SpaceFailed:
    try:
        lines = hub.logs(repo, build=now.stage != "RUNTIME_ERROR")
    except HubError:
        lines = []  # what is broken is taken back, also where nobody tells why
    said = "\n".join(f"  {line}" for line in lines) or "  (its log cannot be had)"
    return SpaceFailed(
        f"{repo} ended in {now.stage}; the end of its log:\n{said}", fix="correct what the log says, then push again"
    )


def _taken_back(repo: str, commit: str, hub: Hub, talk: Talk, patience: float) -> str:
    """Bring back, in a new commit, the version before a commit; return what came of it, as a sentence."""
    before = hub.released_before("space", repo, commit)
    if before is None:
        return "no version of it ran before, so there is nothing to go back to; it was not tagged, and is not shown"
    talk(f"taking {repo} back to {before[:12]}")
    there, here = hub.tree("space", repo, before), hub.tree("space", repo, commit)
    lost = sorted(here.keys() - there.keys() - HUB_OWNED)
    changed = sorted(path for path in there.keys() - HUB_OWNED if here.get(path) != there[path])
    try:
        old = {path: hub.read("space", repo, path, before) for path in changed}
        digests = {path: (data, hashlib.sha256(data).hexdigest()) for path, data in old.items()}
        staged = hub.stage("space", repo, digests)
        back = hub.commit(
            "space", repo, staged, delete=lost, parent=commit, title=f"Go back to {before[:12]}, which ran"
        )
        started(repo, back, hub, is_new=False, talk=talk, patience=patience)
    except HubError as error:
        return f"it could not be taken back to {before[:12]}: {error}"
    return f"it is back to {before[:12]}, in commit {back[:12]}; nothing was tagged"
