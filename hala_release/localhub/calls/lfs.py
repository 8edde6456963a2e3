"""The Git LFS batch API: large files by sha256, uploaded and downloaded through links that carry their own proof."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from hala_release.localhub import blobs, names
from hala_release.localhub.refused import Refused
from hala_release.localhub.signing import Signer
from hala_release.localhub.store import Repo
from hala_release.localhub.traffic import Traffic
from hala_release.localhub.wire import Call, items, number, text

MIME = "application/vnd.git-lfs+json"


class Lfs:
    """The three calls of an upload, and the one of a download."""

    def __init__(self, signer: Signer, traffic: Traffic) -> None:
        self._signer = signer
        self._traffic = traffic

    def batch(self, call: Call) -> Response:
        """POST info/lfs/objects/batch; always the basic transfer, one request for each file."""
        values = call.json()
        operation = text(values, "operation")
        if operation not in ("upload", "download"):
            raise Refused(422, f"Operation {operation!r} is neither upload nor download")
        repo = call.repo(write=operation == "upload", files=True)
        asked = [(_sha256(item), number(item, "size")) for item in items(values, "objects")]
        answer = self._upload if operation == "upload" else self._download
        objects = [{"oid": oid, "size": size, **answer(call, repo, oid, size)} for oid, size in asked]
        return JSONResponse({"transfer": "basic", "objects": objects, "hash_algo": "sha256"}, media_type=MIME)

    def _upload(self, call: Call, repo: Repo, oid: str, size: int) -> dict[str, Any]:
        if call.store.blobs.size(oid) is not None:
            return {}
        grant, _ = self._signer.grant(use="put", oid=oid, size=size, repo=_label(repo))
        verify = {"href": f"{call.base}/{repo.url_path}.git/info/lfs/verify"}
        return {"actions": {"upload": {"href": f"{call.base}/_lfs/{grant}"}, "verify": verify}}

    def _download(self, call: Call, repo: Repo, oid: str, size: int) -> dict[str, Any]:
        if call.store.blobs.size(oid) != size:
            return {"error": {"code": 404, "message": f"There is no object {oid} of {size} bytes"}}
        grant, _ = self._signer.grant(use="get", oid=oid, size=size, repo=_label(repo))
        return {"actions": {"download": {"href": f"{call.base}/_lfs/{grant}"}}}

    async def put(self, call: Call) -> Response:
        """PUT a file whose hash and size were granted."""
        claims = self._signer.claims(call.params["grant"], "put")
        await call.store.blobs.receive(str(claims["oid"]), call.request.stream(), size=int(claims["size"]))
        self._traffic.received("blob", str(claims["repo"]), int(claims["size"]))
        return Response()

    def get(self, call: Call) -> Response:
        """GET a file whose hash was granted."""
        claims = self._signer.claims(call.params["grant"], "get")
        size = int(claims["size"])
        pieces = blobs.read(call.store.blobs.path(str(claims["oid"])), 0, size)
        return StreamingResponse(pieces, headers={"Content-Length": str(size)}, media_type="application/octet-stream")

    def verify(self, call: Call) -> Response:
        """POST info/lfs/verify: nothing, if the file is here with that size."""
        call.repo(write=True)
        values = call.json()
        oid, size = _sha256(values), number(values, "size")
        if call.store.blobs.size(oid) != size:
            raise Refused(404, f"There is no object {oid} of {size} bytes")
        return JSONResponse({}, media_type=MIME)


def _sha256(values: dict[str, Any]) -> str:
    oid = text(values, "oid")
    if not names.SHA256.fullmatch(oid):
        raise Refused(422, "`oid` must be a sha256 in lower-case hexadecimal")
    return oid


def _label(repo: Repo) -> str:
    return f"{repo.kind}:{repo.id}"
