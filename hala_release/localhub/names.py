"""What may be a name: of a repository, a revision, a new ref, a path. Everything else is refused with a sentence."""

from __future__ import annotations

import re

from hala_release.localhub.refused import Refused

KINDS = ("model", "dataset", "space")
RESERVED = frozenset(
    [
        "api",
        "models",
        "datasets",
        "spaces",
        "kernels",
        "buckets",
        "collections",
        "settings",
        "organizations",
        "users",
        "docs",
        "join",
        "login",
        "logout",
        "oauth",
        "resolve",
        "new",
        "papers",
    ]
)
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SHA = re.compile(r"[0-9a-f]{4,40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def kind(value: str) -> str:
    """A repository type that this Hub keeps."""
    if value not in KINDS:
        raise Refused(400, f"Repository type {value!r} is not kept by this Hub; use one of {', '.join(KINDS)}")
    return value


def repo_id(namespace: str, name: str) -> tuple[str, str]:
    """A namespace and a name that the Hub's own rules allow."""
    for part in (namespace, name):
        if not _PART.fullmatch(part) or "--" in part or ".." in part or part.lower().endswith(".git"):
            raise Refused(400, f"{namespace}/{name} is not a repository id: use letters, digits, '-', '_' and '.'")
    if namespace.lower() in RESERVED:
        raise Refused(400, f"The namespace {namespace!r} is reserved")
    return namespace, name


def ref(value: str) -> str:
    """A branch or tag name that git accepts and that cannot be mistaken for an option, a commit or a full ref."""
    bad = (
        not value
        or len(value.encode()) > 200
        or value[0] in "-./"
        or value[-1] in "./"
        or value in ("@", "HEAD")
        or value.startswith("refs/")
        or re.fullmatch("[0-9a-f]{40}", value)
    )
    if bad or _BAD_REF.search(value):
        raise Refused(400, f"{value!r} is not a valid reference name")
    return value


def revision(value: str) -> str:
    """A branch, tag, commit or full ref as a reader may write it; anything that git would interpret is not found."""
    if not value or len(value) > 300 or value[0] == "-" or _BAD_REF.search(value):
        raise Refused(404, f"Invalid rev id: {value}", code="RevisionNotFound")
    return value


def _is_git(part: str) -> bool:
    """Whether some file system would take the name for git's own directory."""
    plain = _UNSEEN.sub("", part).lower()
    return plain.rstrip(". ") == ".git" or plain.startswith("git~")


def path(value: str) -> str:
    """A file path inside a repository: relative, canonical, printable, and harmless on every disk it may land on."""
    parts = value.split("/")
    if (
        not value
        or _CONTROL.search(value)
        or "\\" in value
        or len(value.encode(errors="surrogatepass")) > 1024
        or any(part in ("", ".", "..") or len(part.encode(errors="surrogatepass")) > 255 for part in parts)
        or any(_is_git(part) for part in parts)
        or any(0xD800 <= ord(c) <= 0xDFFF for c in value)
    ):
        raise Refused(422, f"{value[:200]!r} is not a valid path in a repository")
    return value
