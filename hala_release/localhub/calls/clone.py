"""Git over HTTP, for reading: clone and fetch. A push is refused with a sentence."""

from __future__ import annotations

import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from hala_release.localhub import git
from hala_release.localhub.blobs import PIECE
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo
from hala_release.localhub.wire import Call

NO_PUSH = "git push is not built yet in this Hub; upload with huggingface_hub instead\n"
REQUEST_LIMIT = 64 << 20


def info_refs(call: Call) -> Response:
    """GET info/refs?service=git-upload-pack: what there is to fetch."""
    service = next(iter(call.query("service")), "")
    if service == "git-receive-pack":
        return no_push(call)
    repo = call.repo(files=True)
    if service != "git-upload-pack":
        raise Refused(403, "Only the smart protocol of git is spoken here")
    output = _upload_pack(call, repo, b"", "--advertise-refs")
    announced = b"" if "version=2" in _protocol(call) else b"001e# service=git-upload-pack\n0000"
    return _answer(iter([announced, *output]), "advertisement")


def upload_pack(call: Call) -> Response:
    """POST git-upload-pack: the objects that the caller lacks."""
    repo = call.repo(files=True)
    body = call.body
    if call.request.headers.get("content-encoding") == "gzip":
        try:
            unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16)
            body = unpacked.decompress(body, REQUEST_LIMIT)
        except zlib.error as error:
            raise Refused(400, "The body is not gzip") from error
        if unpacked.unconsumed_tail:
            raise Refused(413, "The request is too large")
    return _answer(_upload_pack(call, repo, body), "result")


def no_push(_: Call) -> Response:
    """git-receive-pack: not built; git shows plain text to its user."""
    return PlainTextResponse(NO_PUSH, 501, {"X-Error-Message": NO_PUSH.strip()})


def _answer(pieces: Iterator[bytes], what: str) -> Response:
    headers = {"Cache-Control": "no-cache"}
    return StreamingResponse(pieces, headers=headers, media_type=f"application/x-git-upload-pack-{what}")


def _protocol(call: Call) -> str:
    asked = call.request.headers.get("git-protocol", "")
    return asked if re.fullmatch(r"[a-z0-9=:]{1,100}", asked) else ""


def _upload_pack(call: Call, repo: Repo, body: bytes, *options: str) -> Iterator[bytes]:
    """What git upload-pack says, piece by piece."""
    command = ["git", "upload-pack", "--strict", "--stateless-rpc", *options, str(repo.git_dir.resolve())]
    env = {**git.environment(), "GIT_PROTOCOL": _protocol(call)}
    with tempfile.TemporaryFile() as said:
        said.write(body)
        said.seek(0)
        with subprocess.Popen(command, stdin=said, stdout=subprocess.PIPE, env=env) as process:
            if process.stdout is None:
                raise git.GitFailed("git upload-pack has no output")
            try:
                while piece := process.stdout.read(PIECE):
                    yield piece
            finally:
                process.kill()
