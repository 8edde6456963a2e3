"""A look at a page before anything is pushed: files in memory, at an address that nobody can guess."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from collections import OrderedDict
from typing import NamedTuple

from starlette.responses import JSONResponse, Response

from hala_release.localhub import names, page
from hala_release.localhub.calls.pages import LONGEST_CARD, named_here, parted
from hala_release.localhub.calls.resolve import safe_headers
from hala_release.localhub.page import File, View
from hala_release.localhub.refused import Refused
from hala_release.localhub.wire import Call, text

KEPT = 100
KEPT_BYTES = 256 << 20
FILES = 200


class Preview(NamedTuple):
    """A repository that does not exist yet."""

    kind: str
    repo: str
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(len(content) for content in self.files.values())


class Previews:
    """The last previews, until the server ends; the oldest make room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = OrderedDict[str, Preview]()

    def make(self, call: Call) -> Response:
        """POST /_local/preview `{kind, repo, files: {path: base64}}`: the address of the page."""
        call.writer()
        values = call.json()
        kind = names.kind(text(values, "kind"))
        namespace, slash, name = text(values, "repo").partition("/")
        if not slash:
            raise Refused(400, "`repo` must be namespace/name")
        preview = Preview(kind, "/".join(names.repo_id(namespace, name)), _files(values.get("files")))
        key = secrets.token_urlsafe(24)
        with self._lock:
            self._kept[key] = preview
            while len(self._kept) > KEPT or sum(kept.size for kept in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return JSONResponse({"url": f"{call.base}/_local/preview/{key}/"})

    def show(self, call: Call) -> Response:
        """GET /_local/preview/ID/: the page, as the repository's own would be."""
        preview = self._found(call)
        metadata, body = parted(preview.files.get("README.md", b"No card.").decode("utf-8", "replace"))
        view = View(
            kind=preview.kind,
            repo=preview.repo,
            metadata=metadata,
            card=body,
            files=[File(path, len(content)) for path, content in sorted(preview.files.items())],
            address=f"/_local/preview/{call.params['id']}",
            caption=f"{preview.kind}, not pushed yet",
            tags=[],
            here=named_here(call, metadata),
        )
        return page.show(view)

    def file(self, call: Call) -> Response:
        """GET /_local/preview/ID/PATH: one of its files."""
        path = call.params["path"]
        content = self._found(call).files.get(path)
        if content is None:
            raise Refused(404, "Entry not found", code="EntryNotFound")
        return Response(content, headers=safe_headers(path))

    def _found(self, call: Call) -> Preview:
        with self._lock:
            preview = self._kept.get(call.params["id"])
        if preview is None:
            raise Refused(404, f"There is no such preview; the last {KEPT} are kept, until the Hub stops")
        return preview


def _files(value: object) -> dict[str, bytes]:
    if not isinstance(value, dict) or len(value) > FILES:
        raise Refused(400, f"`files` must be an object of at most {FILES} paths, each with its content in base64")
    files = {}
    for path in value:
        try:
            files[names.path(path)] = base64.b64decode(text(value, path), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refused(400, f"The content of {path!r} is not base64") from error
    if len(files.get("README.md", b"")) > LONGEST_CARD:
        raise Refused(413, f"README.md is longer than {LONGEST_CARD} bytes")
    return files
