"""The Hub as this project needs it, real or embedded. The only import of huggingface_hub.

Whatever the client raises is translated here, once, into a HubError that says what to do. Nothing is retried here:
after an error the caller reads the Hub before it does anything again.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_session,
    get_token,
    hf_hub_url,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    OIDCError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars, hf_raise_for_status  # type: ignore[attr-defined]  # documented as public

from hala_release.disk import git_blob_id
from hala_release.errors import BundleChanged, HubDenied, HubError, HubMissing, HubMoved, HubUnavailable
from hala_release.manifest import Kind

# httpx.HTTPError with huggingface_hub 1.x, httpx2.HTTPError with 2.x: the client's own error derives from it.
_HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]

LOG_LINES = 40
_TOKEN = re.compile(r"\b(?:hf_[\w.-]{8,}|ey[\w-]{10,}\.[\w-]+\.[\w-]+)")
_BENCHMARK = "benchmark:official"
_FIX_DENIED = "export HF_TOKEN with write access to it, or run `hf auth login`"


class RemoteFile(NamedTuple):
    """A file on the Hub, identified without downloading it."""

    size: int
    blob_id: str
    """Name that git gives to the file, or to its pointer."""
    sha256: str | None
    """Digest of the bytes, for files that the Hub stores outside git."""


class Head(NamedTuple):
    """Where a repository stands."""

    commit: str
    private: bool
    repo: str
    """Its id as the Hub writes it: letters in other cases and names of before lead to it too."""


class RemoteCollection(NamedTuple):
    """A collection, and the repositories in it as (kind, id)."""

    slug: str
    private: bool
    items: frozenset[tuple[str, str]]


class Staged(NamedTuple):
    """Blobs that lie on the Hub, invisible until a commit names them."""

    additions: list[CommitOperationAdd]


class Runtime(NamedTuple):
    """How a Space is."""

    stage: str
    """As the Hub calls it, for example RUNNING or BUILD_ERROR."""
    commit: str | None
    """The commit that the stage is about; None where the Hub does not tell."""
    url: str | None
    """Where the app answers."""


class Hub:
    """One endpoint with one token."""

    def __init__(self, endpoint: str | None = None, token: str | None = None, *, progress: bool = False) -> None:
        """Talk to `endpoint`, or to HF_ENDPOINT or the public Hub; with `token`, or the one the client finds.

        Args:
            progress: whether the client draws its progress bars on stderr.
        """
        if not progress:
            disable_progress_bars()
        with self._door(endpoint or "the Hub"):
            self._token = token or get_token()
        if self._token and not (self._token.isascii() and self._token.isprintable()):
            raise HubDenied("the token has characters that no token has", fix="export HF_TOKEN again, from its page")
        self._api = HfApi(endpoint=endpoint, token=self._token or False, library_name="hala-release")

    @property
    def endpoint(self) -> str:
        """URL of the Hub."""
        return self._api.endpoint

    def url(self, kind: Kind, repo: str) -> str:
        """Return the page of a repository."""
        return f"{self.endpoint}/{'' if kind == 'model' else f'{kind}s/'}{repo}"

    def user(self) -> str:
        """Return the name that the token belongs to.

        Raises:
            HubDenied: there is no token, or the Hub does not know it.
        """
        if self._token is None:
            raise HubDenied(f"no token for {self.endpoint}", fix="export HF_TOKEN, or run `hf auth login`")
        with self._door(self.endpoint):
            return str(self._api.whoami()["name"])

    def may_write(self, kind: Kind, repo: str) -> None:
        """Return when the token may write to a repository that exists.

        Raises:
            HubDenied: it may not.
        """
        with self._door(repo):
            self._api.auth_check(repo, repo_type=kind, write=True)

    def head(self, kind: Kind, repo: str) -> Head | None:
        """Return where the branch main stands, or None when there is no such repository."""
        with self._door(repo):
            try:
                info = self._api.repo_info(repo, repo_type=kind)
            except RepositoryNotFoundError as error:
                if self._token and error.response.status_code == 401:
                    raise HubDenied(f"{self.endpoint} does not know this token", fix=_FIX_DENIED) from error
                return None
        if info.sha is None:
            raise HubError(
                f"{repo} has no commit on main", fix="make a first commit on main, or publish under another name"
            )
        return Head(info.sha, bool(info.private), info.id)

    def tree(self, kind: Kind, repo: str, revision: str) -> dict[str, RemoteFile]:
        """Return every file of a revision by path."""
        with self._door(f"{repo} at {revision}"):
            entries = self._api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=kind)
            return {
                entry.path: RemoteFile(entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
                for entry in entries
                if isinstance(entry, RepoFile)
            }

    def read(self, kind: Kind, repo: str, path: str, revision: str) -> bytes:
        """Return a small file."""
        with self._door(f"{path} of {repo}"):
            url = hf_hub_url(repo, path, repo_type=kind, revision=revision, endpoint=self.endpoint)
            answer = get_session().get(url, headers=self._headers(), follow_redirects=True)
            hf_raise_for_status(answer)
            return bytes(answer.content)

    def text(self, kind: Kind, repo: str, path: str, revision: str) -> str:
        """Return a small text file.

        Raises:
            HubError: it is not UTF-8.
        """
        try:
            return self.read(kind, repo, path, revision).decode()
        except UnicodeDecodeError as error:
            raise HubError(f"{path} of {repo} is not UTF-8 text: {error}", fix="save it as UTF-8 there") from error

    def released_before(self, kind: Kind, repo: str, commit: str) -> str | None:
        """Return the last commit before another one that has a tag; None where there is none."""
        with self._door(f"{repo} at {commit}"):
            names = [ref.name for ref in self._api.list_repo_refs(repo, repo_type=kind).tags]
            tagged = {self._api.repo_info(repo, repo_type=kind, revision=name).sha for name in names}
            history = self._api.list_repo_commits(repo, repo_type=kind, revision=commit)
        return next((one.commit_id for one in history[1:] if one.commit_id in tagged), None)

    def runtime(self, repo: str) -> Runtime:
        """Return how a Space is."""
        with self._door(repo):
            now = self._api.get_space_runtime(repo)
            host = self._api.space_info(repo).host if now.stage.startswith("RUNNING") else None
        return Runtime(str(now.stage), now.raw.get("sha"), host)

    def restart(self, repo: str) -> bool:
        """Start a Space that does not run; tell whether this Hub runs Spaces of its kind."""
        with self._door(repo):
            try:
                self._api.restart_space(repo)
            except HfHubHTTPError as error:
                if error.response.status_code == 501:
                    return False
                raise
        return True

    def logs(self, repo: str, *, build: bool) -> list[str]:
        """Return what a Space's build, or its program, said last; at most a screenful of lines."""
        with self._door(f"the logs of {repo}"):
            lines = "".join(self._api.fetch_space_logs(repo, build=build)).splitlines()
        return [_redacted(line) for line in lines[-LOG_LINES:]]

    @property
    def is_here(self) -> bool:
        """Whether this is a Hub on this machine."""
        return self.endpoint.startswith(("http://127.0.0.1:", "http://localhost:"))

    def key_of_apps(self) -> str | None:
        """Return the token with which a private Space lets its owner in; a Hub on this machine asks for none."""
        return None if self.is_here else self._token

    def benchmarks(self) -> frozenset[str]:
        """Return the datasets that the Hub keeps leaderboards of."""
        with self._door(f"benchmarks of {self.endpoint}"):
            return frozenset(found.id for found in self._api.list_datasets(filter=_BENCHMARK))

    def refused_evaluations(self, repo: str, revision: str) -> list[str]:
        """Return what the Hub says against the entries of leaderboards in a model's repository, as sentences."""
        with self._door(f"evaluations of {repo}"):
            url = f"{self.endpoint}/api/models/{repo}/revision/{revision}"
            answer = get_session().get(url, headers=self._headers(), params={"expand": "evalResults"})
            hf_raise_for_status(answer)
            entries = answer.json().get("evalResults") or []
        return [f"{one.get('filename')}: {one['error']}" for one in entries if isinstance(one, dict) and "error" in one]

    def propose(
        self, kind: Kind, repo: str, path: str, data: bytes, *, parent: str, title: str, description: str
    ) -> str | None:
        """Open a pull request that changes one file, unless there was one with these very bytes; return its page."""
        with self._door(f"pull requests of {repo}"):
            refs = self._api.list_repo_refs(repo, repo_type=kind, include_pull_requests=True)
            for ref in refs.pull_requests or []:
                there = self._api.get_paths_info(repo, path, repo_type=kind, revision=ref.ref)
                if any(getattr(one, "blob_id", None) == git_blob_id(data) for one in there):
                    return None
            made = self._api.create_commit(
                repo,
                [CommitOperationAdd(path, data)],
                commit_message=title,
                commit_description=description,
                repo_type=kind,
                parent_commit=parent,
                create_pr=True,
            )
        return made.pr_url

    def commit_of(self, kind: Kind, repo: str, tag: str) -> str | None:
        """Return the commit that a tag names, or None when there is no such tag."""
        with self._door(repo):
            if all(ref.name != tag for ref in self._api.list_repo_refs(repo, repo_type=kind).tags):
                return None
            # Not the ref's own target, which for an annotated tag is the tag's object.
            return self._api.repo_info(repo, repo_type=kind, revision=tag).sha

    def create(self, kind: Kind, repo: str, *, sdk: str | None = None) -> None:
        """Create a private repository.

        Raises:
            HubMoved: there is one of that name.
        """
        with self._door(repo):
            self._api.create_repo(repo, repo_type=kind, private=True, space_sdk=sdk)

    def set_private(self, kind: Kind, repo: str, *, private: bool) -> None:
        """Hide a repository from everyone else, or show it."""
        with self._door(repo):
            self._api.update_repo_settings(repo, repo_type=kind, private=private)

    def stage(self, kind: Kind, repo: str, files: Mapping[str, tuple[Path | bytes, str]]) -> Staged:
        """Upload the blobs of a commit to come. Readers see nothing of them.

        Args:
            files: by path in the repository, the bytes or the file that has them, and their sha256.

        Raises:
            BundleChanged: what was read has another sha256; nothing refers to it.
        """
        with self._door(repo):
            additions = [
                CommitOperationAdd(path, data if isinstance(data, bytes) else str(data))
                for path, (data, _) in files.items()
            ]
            # Without rules of its own, the call would leave out what a .gitignore in the repository names.
            self._api.preupload_lfs_files(repo, additions, repo_type=kind, free_memory=False, gitignore_content="")
        for addition in additions:
            if addition.upload_info.sha256.hex() != files[addition.path_in_repo][1]:
                raise BundleChanged(
                    f"{addition.path_in_repo} changed while it was sent to {repo}",
                    fix="stop what writes to it, and make the bundle again",
                )
        return Staged(additions)

    def commit(self, kind: Kind, repo: str, staged: Staged, *, delete: Sequence[str], parent: str, title: str) -> str:
        """Make one commit on main, on top of `parent` and nothing else, and return its id.

        Raises:
            HubMoved: main is not at `parent`.
        """
        deletions = [CommitOperationDelete(path, is_folder=False) for path in delete]
        with self._door(repo):
            done = self._api.create_commit(
                # Deletions first: they are carried out in order, and a folder may take the place of a file.
                repo,
                [*deletions, *staged.additions],
                commit_message=title,
                repo_type=kind,
                parent_commit=parent,
            )
        return str(done.oid)

    def tag(self, kind: Kind, repo: str, tag: str, commit: str) -> None:
        """Name a commit. An existing tag never moves.

        Raises:
            HubMoved: the tag exists.
        """
        with self._door(f"{repo}, tag {tag}"):
            self._api.create_tag(repo, tag=tag, revision=commit, repo_type=kind)

    def collection(self, namespace: str, title: str) -> RemoteCollection | None:
        """Return the collection of that title, or None when there is none."""
        with self._door(f"collections of {namespace}"):
            for found in self._api.list_collections(owner=namespace):
                if found.title == title:
                    full = self._api.get_collection(found.slug)
                    return RemoteCollection(
                        full.slug, full.private, frozenset((i.item_type, i.item_id) for i in full.items)
                    )
        return None

    def create_collection(self, namespace: str, title: str, description: str, *, private: bool) -> str:
        """Create an empty collection, unless somebody just did, and return its slug."""
        with self._door(f"collection {title}"):
            made = self._api.create_collection(
                title, namespace=namespace, description=description or None, private=private, exists_ok=True
            )
        return str(made.slug)

    def set_collection_private(self, slug: str, *, private: bool) -> None:
        """Hide a collection from everyone else, or show it."""
        with self._door(f"collection {slug}"):
            self._api.update_collection_metadata(slug, private=private)

    def collect(self, slug: str, kind: Kind, repo: str) -> None:
        """Add a repository to a collection."""
        with self._door(f"collection {slug}"):
            self._api.add_collection_item(slug, repo, kind, exists_ok=True)

    def validate_card(self, kind: Kind, repo: str, card: str) -> None:
        """Return when the Hub accepts a card, so that it is not refused after everything else was sent.

        Raises:
            HubError: it does not; says why.
        """
        with self._door(f"the card of {repo}"):
            body = {"content": card, "repoType": kind}
            answer = get_session().post(f"{self.endpoint}/api/validate-yaml", json=body, headers=self._headers())
            if answer.status_code == 400:
                said = "; ".join(str(problem.get("message")) for problem in answer.json().get("errors", []))
                raise HubError(
                    f"the card of {repo}: the Hub refuses its metadata: {said}", fix="correct it in release.yaml"
                )
            hf_raise_for_status(answer)

    def preview(self, kind: Kind, repo: str, files: Mapping[str, bytes]) -> str:
        """Show a card and what goes with it on a page of an embedded Hub, without publishing it; return its address."""
        body = {"kind": kind, "repo": repo, "files": {path: base64.b64encode(d).decode() for path, d in files.items()}}
        with self._door(f"the page of {repo}"):
            answer = get_session().post(f"{self.endpoint}/_local/preview", json=body, headers=self._headers())
            hf_raise_for_status(answer)
            return str(answer.json()["url"])

    def received_bytes(self, repos: Collection[tuple[Kind, str]]) -> int | None:
        """Return what an embedded Hub has received for these repositories, in bytes; None elsewhere: nobody tells."""
        if not self.is_here:
            return None
        with self._door(self.endpoint):
            answer = get_session().get(f"{self.endpoint}/_local/stats", headers=self._headers())
            if answer.status_code != 200:
                return None
            received = answer.json()["repos"]
        return sum(sum(received.get(f"{kind}:{repo}", {}).values()) for kind, repo in repos)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    @contextmanager
    def _door(self, what: str) -> Iterator[None]:
        """Translate the client's exceptions into ours."""
        try:
            yield
        except OIDCError as error:
            raise HubDenied(
                f"no token can be had for {os.environ.get('HF_OIDC_RESOURCE')}: {_redacted(str(error))}",
                fix="unset HF_OIDC_RESOURCE outside a workflow that may ask for one",
            ) from error
        except OfflineModeIsEnabled as error:
            raise HubUnavailable(f"{what}: the client is in offline mode", fix="unset HF_HUB_OFFLINE") from error
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
            raise HubMissing(f"{what}: {_said(error)}", fix="check the name and that the token may see it") from error
        except HfHubHTTPError as error:
            raise _translated(what, error) from error
        except _HTTPError as error:
            raise HubUnavailable(
                f"{what}: no answer from {self.endpoint}: {_redacted(str(error))}",
                fix="check the network and HF_ENDPOINT, then run the same command again",
            ) from error
        except json.JSONDecodeError as error:
            raise HubError(
                f"{what}: what answers at {self.endpoint} is not a Hub: its answer is not JSON",
                fix="check HF_ENDPOINT and --hub; a proxy or a login page may have answered",
            ) from error
        except ValueError as error:  # what the client itself refuses to send, or cannot read
            raise HubError(
                f"{what}: the client of the Hub stopped: {_said(error)}", fix="correct what it names"
            ) from error
        except (RuntimeError, ConnectionError) as error:  # what hf_xet and the LFS upload raise
            raise HubUnavailable(
                f"{what}: the upload broke off: {_redacted(str(error))}", fix="run the same command again"
            ) from error


def _translated(what: str, error: HfHubHTTPError) -> HubError:
    said = _said(error)
    match error.response.status_code:
        case 401 | 403:
            return HubDenied(f"{what}: not allowed with this token: {said}", fix=_FIX_DENIED)
        case 404:
            return HubMissing(f"{what}: {said}", fix="check the name and that the token may see it")
        case 409 | 412:
            return HubMoved(
                f"{what} changed since it was read: {said}", fix="run `hala-release plan` to see what is new, then push"
            )
        case 429:
            return HubUnavailable(f"{what}: too many requests: {said}", fix="wait some minutes and run it again")
        case status if status >= 500:
            return HubUnavailable(f"{what}: the Hub failed ({status}): {said}", fix="run the same command again")
        case status:
            return HubError(f"{what}: the Hub refused ({status}): {said}", fix="correct what it names")


def _said(error: Exception) -> str:
    """What the Hub itself said, without the client's advice around it."""
    said = getattr(error, "server_message", None) or str(error).strip()
    return _redacted(" ".join(said.split()))


def _redacted(text: str) -> str:
    return _TOKEN.sub("<token>", text)
