"""Pull requests as far as a commit opens them: all that is known of one is in git, under refs/pr/N."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from hala_release.localhub import git, page
from hala_release.localhub.markdown import Targets, render
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo, moment
from hala_release.localhub.wire import Call

PREFIX = "refs/pr/"
BASE = "refs/heads/main"
PAGE = 50
LONGEST_DIFF = 1 << 20


class Pull(NamedTuple):
    """A pull request; its first commit gives it title and description."""

    number: int
    commits: list[git.Commit]

    @property
    def ref(self) -> str:
        """Where its files are."""
        return f"{PREFIX}{self.number}"

    @property
    def first(self) -> git.Commit:
        """The commit that opened it."""
        return self.commits[0]


def next_ref(repo: Repo) -> str:
    """The ref of the next pull request; to be asked while nobody else may write."""
    return f"{PREFIX}{max(_numbers(repo), default=0) + 1}"


def _numbers(repo: Repo) -> list[int]:
    """The numbers of all pull requests, newest first."""
    found = (ref.removeprefix(PREFIX) for ref in git.refs(repo.git_dir, PREFIX))
    return sorted((int(number) for number in found if number.isdecimal()), reverse=True)


def _pull(repo: Repo, number: int) -> Pull:
    ref = f"{PREFIX}{number}"
    own = git.log(repo.git_dir, f"{BASE}..{ref}") or git.log(repo.git_dir, ref, limit=1)
    return Pull(number, own[::-1])


def _asked(call: Call, repo: Repo) -> Pull:
    number = call.params["num"]
    if not number.isdecimal() or len(number) > 9 or int(number) not in _numbers(repo):
        raise Refused(404, f"There is no discussion {number} in {repo.id}")
    return _pull(repo, int(number))


def listing(call: Call) -> Response:
    """GET discussions?type=&status=&author=&p=: pull requests, newest first; other discussions are not kept here."""
    repo = call.repo()
    start = next(iter(call.query("p")), "0")
    if not start.isdecimal() or len(start) > 6:
        raise Refused(400, "`p` must be a natural number")
    found = _numbers(repo)
    if set(call.query("type")) - {"all", "pull_request"} or set(call.query("status")) - {"all", "open"}:
        found = []
    if set(call.query("author")) - {git.AUTHOR}:
        found = []
    at = int(start) * PAGE
    shown = [_line(repo, _pull(repo, number)) for number in found[at : at + PAGE]]
    return JSONResponse({"count": len(found), "start": at, "discussions": shown, "numClosedDiscussions": 0})


def _line(repo: Repo, pull: Pull) -> dict[str, Any]:
    return {
        "num": pull.number,
        "title": pull.first.title,
        "status": "open",
        "author": _author(pull.first),
        "createdAt": _when(pull.first),
        "isPullRequest": True,
        "repo": {"name": repo.id, "type": repo.kind},
        "numComments": 0,
        "pinned": False,
    }


def _author(commit: git.Commit) -> dict[str, str]:
    return {"name": commit.author, "type": "user"}


def _when(commit: git.Commit) -> str:
    return moment(datetime.fromtimestamp(commit.time, UTC))


def details(call: Call) -> Response:
    """GET discussions/{num}[?diff=1]: the description is the first event, each commit is one more."""
    repo = call.repo(files=True)
    pull = _asked(call, repo)
    answer = {
        **_line(repo, pull),
        "changes": {"base": BASE, "mergeCommitId": None},
        "filesWithConflicts": _conflicts(repo, pull),
        "events": [_description(pull), *(_event(commit) for commit in pull.commits)],
    }
    if call.flag("diff"):
        answer["diff"] = _diff(repo, pull)
    return JSONResponse(answer)


def _description(pull: Pull) -> dict[str, Any]:
    first = pull.first
    latest = {"raw": first.message, "html": _html(first), "updatedAt": _when(first), "author": _author(first)}
    data = {"edited": False, "hidden": False, "numEdits": 0, "latest": latest, "history": [latest]}
    return {"id": first.oid[:24], "type": "comment", "author": _author(first), "createdAt": _when(first), "data": data}


def _event(commit: git.Commit) -> dict[str, Any]:
    data = {"subject": commit.title, "oid": commit.oid}
    told = {"type": "commit", "author": _author(commit), "createdAt": _when(commit), "data": data}
    return {"id": commit.oid[-24:], **told}


def _html(commit: git.Commit) -> str:
    return render(commit.message, Targets("."))


def _conflicts(repo: Repo, pull: Pull) -> bool | list[str]:
    """Nothing, if git can bring the pull request together with main; True, if it cannot, or is too old to tell."""
    try:
        git.run(repo.git_dir, "merge-tree", "--write-tree", "--no-messages", BASE, pull.ref)
    except git.GitFailed:
        return True
    return []


def _diff(repo: Repo, pull: Pull) -> str:
    output = git.run(repo.git_dir, "diff", "--no-ext-diff", "--no-textconv", f"{BASE}...{pull.ref}", "--")
    return output[:LONGEST_DIFF].decode("utf-8", "replace")


def page_of(call: Call) -> Response:
    """GET /{P}{id}/discussions/{num}: what the pull request says and changes."""
    repo = call.repo(files=True)
    pull = _asked(call, repo)
    shown = quote(pull.ref, safe="")
    return page.headed(
        pull.first.title,
        f"<p><small>pull request {pull.number} of</small> <a href='/{repo.url_path}'>{escape(repo.id)}</a>, "
        f"<a href='/{repo.url_path}?rev={shown}'>the repository with its changes</a>",
        f"<article dir=auto>{_html(pull.first)}</article>",
        f"<h2>Changes</h2><pre>{escape(_diff(repo, pull))}</pre>",
    )
