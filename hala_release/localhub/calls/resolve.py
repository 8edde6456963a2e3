"""Files by address: HEAD and GET, whole or in part, with the headers that caches and clients rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from hala_release.localhub import blobs, git, pointers, revisions
from hala_release.localhub.refused import Refused
from hala_release.localhub.wire import Call

TEXT = "md txt json jsonl yaml yml csv py jinja"
IMAGES = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp", "svg": "svg+xml"}
TYPES = {ending: f"image/{form}" for ending, form in IMAGES.items()}
TYPES |= dict.fromkeys(TEXT.split(), "text/plain; charset=utf-8")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def resolve(call: Call) -> Response:
    """HEAD and GET /{P}{id}/resolve/{rev}/{path}."""
    repo = call.repo(files=True)
    path = call.params["path"]
    found = revisions.at(repo, call.params["rev"], path)
    if found.kind != "blob":
        raise Refused(404, f"{path} is a folder", code="EntryNotFound", headers={"X-Repo-Commit": found.commit})
    entry = git.Entry(found.kind, found.oid, found.size, path)
    pointer = pointers.among(repo.git_dir, [entry]).get(found.oid)
    size, etag = (pointer.size, pointer.sha256) if pointer else (found.size, found.oid)
    if pointer and call.store.blobs.size(pointer.sha256) != size:
        raise Refused(404, f"The large file behind {path} is missing", code="EntryNotFound")
    headers = _headers(path, found.commit, etag)
    if pointer:
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size)}
    if etag in _etags(call.request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    start, length, status = 0, size, 200
    if part := _part(call, size, etag):
        start, length, status = *part, 206
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    headers["Content-Length"] = str(length)
    if call.request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    if pointer:
        pieces: Iterator[bytes] = blobs.read(call.store.blobs.path(pointer.sha256), start, length)
        return StreamingResponse(pieces, status, headers)
    content = git.contents(repo.git_dir, [found.oid])[found.oid]
    return Response(content[start : start + length], status, headers)


def _headers(path: str, commit: str, etag: str) -> dict[str, str]:
    return {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes", **safe_headers(path)}


def safe_headers(path: str) -> dict[str, str]:
    """What a file is and is called; whatever is in it, a browser runs nothing of it."""
    name = path.rpartition("/")[2]
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return {
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";",
        "Content-Type": TYPES.get(name.lower().rpartition(".")[2], "application/octet-stream"),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def _etags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}


def _part(call: Call, size: int, etag: str) -> tuple[int, int] | None:
    """Start and length of the part that is asked for; several parts at once are answered with the whole file."""
    match = _RANGE.fullmatch(call.request.headers.get("range", "").replace(" ", ""))
    condition = call.request.headers.get("if-range", etag).strip('"')
    if not match or match.groups() == ("", "") or condition != etag:
        return None
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= size:
        message = f"The file has {size} bytes"
        raise Refused(416, message, headers={"Content-Range": f"bytes */{size}", "ETag": f'"{etag}"'})
    return start, end - start
