"""The Xet store: xorbs and shards come in, files are put together from them and kept by sha256.

huggingface_hub uploads this way whenever hf_xet is installed, whatever a server says; downloads are offered by plain
HTTP only. The address holds the store's id, because hf_xet remembers by address which chunks a server has: a new store
at an old address would be trusted with chunks it never saw. The hash of a xorb is not checked (it needs BLAKE3); the
sha256 of every file is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hala_release.localhub import blobs, names, revisions
from hala_release.localhub.refused import Refused
from hala_release.localhub.shard import File, ShardInvalid, files
from hala_release.localhub.signing import Signer
from hala_release.localhub.store import Store
from hala_release.localhub.traffic import Traffic
from hala_release.localhub.wire import Call
from hala_release.localhub.xorb import Xorb, XorbInvalid

XORB_LIMIT = 80 << 20
SHARD_LIMIT = 96 << 20
OPEN_XORBS = 16


class Xet:
    """Tokens for the store, and what a client does with them."""

    def __init__(self, signer: Signer, traffic: Traffic) -> None:
        self._signer = signer
        self._traffic = traffic

    def token(self, call: Call) -> Response:
        """GET xet-{read,write}-token/{rev}: in the body for hf_xet, in the headers for huggingface_hub."""
        access = call.params["access"]
        repo = call.repo(write=access == "write", files=True)
        revisions.commit(repo, call.params["rev"])
        token, ends = self._signer.grant(use="xet", access=access, repo=f"{repo.kind}:{repo.id}")
        url = f"{call.base}/_xet/{call.store.id}"
        headers = {"X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(ends), "X-Xet-Cas-Url": url}
        return JSONResponse({"accessToken": token, "exp": ends, "casUrl": url}, headers=headers)

    async def xorb(self, call: Call) -> Response:
        """POST /v1/xorbs/default/{hash}: keep it if its chunks are sound."""
        repo, name = self._writer(call), call.params["hash"]
        if not names.SHA256.fullmatch(name):
            raise Refused(400, "A xorb is named by 64 hexadecimal digits")
        shelf = call.store.xorbs
        with shelf.partial() as partial:
            size = await blobs.spool(call.request.stream(), partial, limit=XORB_LIMIT)
            self._traffic.received("xorb", repo, size)
            new = shelf.size(name) is None
            await run_in_threadpool(_check, partial)
            if new:
                await run_in_threadpool(shelf.keep, name, partial)
        return JSONResponse({"was_inserted": new})

    async def shard(self, call: Call) -> Response:
        """POST /v1/shards: put together every file that it describes."""
        repo = self._writer(call)
        with call.store.xorbs.partial() as partial:
            size = await blobs.spool(call.request.stream(), partial, limit=SHARD_LIMIT)
            self._traffic.received("shard", repo, size)
            await run_in_threadpool(_assemble_all, call.store, partial)
        return JSONResponse({"result": 1})

    def _writer(self, call: Call) -> str:
        claims = self._signer.claims(_bearer(call.request), "xet")
        if claims["access"] != "write" or call.params["store"] != call.store.id:
            raise Refused(403, "The token does not allow uploads to this store")
        return str(claims["repo"])


def _bearer(request: Request) -> str:
    match = re.fullmatch(r"[Bb]earer (\S+)", request.headers.get("authorization", ""))
    if not match:
        raise Refused(401, "A Xet token is needed")
    return match[1]


def _check(path: Path) -> None:
    try:
        Xorb(path).close()
    except XorbInvalid as error:
        raise Refused(400, f"The xorb cannot be used: {error}") from error


def _assemble_all(store: Store, shard: Path) -> None:
    try:
        for file in files(shard.read_bytes()):
            _assemble(store, file)
    except (ShardInvalid, XorbInvalid) as error:
        raise Refused(400, f"The shard cannot be used: {error}") from error


def _assemble(store: Store, file: File) -> None:
    """Write a file from its chunks and keep it, if its sha256 is the one it should have."""
    if file.sha256 is None:
        raise ShardInvalid("a file has no sha256; this store keeps files of repositories only")
    if store.blobs.size(file.sha256) is not None:
        return
    with store.blobs.partial() as partial:
        size, sha256 = blobs.write(partial, _pieces(store, file))
        if sha256 != file.sha256:
            raise ShardInvalid(f"its chunks give {size} bytes with sha256 {sha256} instead of {file.sha256}")
        store.blobs.keep(sha256, partial)


def _pieces(store: Store, file: File) -> Iterator[bytes]:
    opened: dict[str, Xorb] = {}
    with ExitStack() as stack:
        for term in file.terms:
            if term.xorb not in opened:
                if store.xorbs.size(term.xorb) is None:
                    raise ShardInvalid(f"the xorb {term.xorb} was not uploaded")
                if len(opened) == OPEN_XORBS:
                    stack.close()
                    opened.clear()
                opened[term.xorb] = Xorb(store.xorbs.path(term.xorb))
                stack.callback(opened[term.xorb].close)
            xorb, length = opened[term.xorb], 0
            if not term.first < term.end <= len(xorb):
                raise ShardInvalid(f"a term names chunks {term.first} to {term.end} of {len(xorb)}")
            for index in range(term.first, term.end):
                chunk = xorb.chunk(index)
                length += len(chunk)
                yield chunk
            if length != term.length:
                raise ShardInvalid("a term has another length than its chunks")
