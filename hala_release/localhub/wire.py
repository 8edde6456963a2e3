"""What every handler is given."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

from starlette.requests import Request

from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Caller, Repo, Store


@dataclass
class Call:
    """One request, already matched to its route: decoded path parameters, body, caller."""

    request: Request
    store: Store
    params: dict[str, str]
    caller: Caller | None
    body: bytes = b""

    @property
    def base(self) -> str:
        """The address that the client used, so that every link it gets back works for it."""
        return f"http://{self.request.headers['host']}"

    @property
    def kind(self) -> str:
        """The repository type named by the path: model, dataset or space."""
        return (self.params.get("T") or "models").removesuffix("s")

    def query(self, key: str) -> list[str]:
        """All values of a query key, also when it is written `key[]`."""
        values = parse_qs(self.request.url.query, keep_blank_values=True)
        return values.get(key, []) + values.get(f"{key}[]", [])

    def flag(self, key: str) -> bool:
        """Whether a query key is true; callers write True, true or 1."""
        return any(value.lower() in ("true", "1") for value in self.query(key))

    def link(self, **changes: str) -> str:
        """This request's address with some query keys replaced, for the Link header of a page."""
        kept = [(k, v) for k, v in parse_qsl(self.request.url.query, keep_blank_values=True) if k not in changes]
        path = self.request.scope["raw_path"].decode("latin-1")
        return f"{self.base}{path}?{urlencode([*kept, *changes.items()])}"

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"The body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refused(400, "The body must be a JSON object")
        return value

    def writer(self) -> Caller:
        """The caller, who must have a token that may write."""
        if self.caller is None:
            raise Refused(401, "Invalid username or password.", headers={"WWW-Authenticate": 'Basic realm="hub"'})
        if not self.caller.writes:
            raise Refused(403, "This token has the role 'read' and cannot write")
        return self.caller

    def repo(self, *, write: bool = False, files: bool = False) -> Repo:
        """The repository in the path, if the caller may see it; `files` asks for the content of a gated one too."""
        repo = self.store.find(self.kind, f"{self.params['ns']}/{self.params['name']}")
        if repo is None or (repo.private and self.caller is None):
            status = 404 if self.caller else 401
            message = "Repository not found" if self.caller else "Invalid username or password."
            raise Refused(status, message, code="RepoNotFound", headers={"WWW-Authenticate": 'Basic realm="hub"'})
        if write:
            self.writer()
        if files and repo.gated and self.caller is None:
            message = f"Access to {repo.kind} {repo.id} is restricted. You must be authenticated to access it."
            raise Refused(401, message, code="GatedRepo", headers={"WWW-Authenticate": 'Basic realm="hub"'})
        return repo


def text(values: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A string of a JSON body; without a default it is required."""
    value = values.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise Refused(400, f"`{key}` must be a string")
    return value


def items(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects of a JSON body."""
    value = values.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refused(400, f"`{key}` must be a list of objects")
    return value


def number(values: Mapping[str, Any], key: str) -> int:
    """A natural number of a JSON body."""
    value = values.get(key)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise Refused(400, f"`{key}` must be a natural number")
    return value
