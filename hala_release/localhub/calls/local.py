"""Calls that the Hub does not have: health, traffic, faults and further tokens."""

from __future__ import annotations

import os

from starlette.responses import JSONResponse, Response

from hala_release import __version__
from hala_release.localhub.daemon import proof
from hala_release.localhub.faults import Faults
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import new_token
from hala_release.localhub.traffic import Traffic
from hala_release.localhub.wire import Call, number, text


class Local:
    """The calls under /_local."""

    def __init__(self, traffic: Traffic, faults: Faults) -> None:
        self._traffic = traffic
        self._faults = faults

    def health(self, call: Call) -> Response:
        """GET health: which program this is, whose files it serves, and the proof that it may."""
        root, pid = str(call.store.root.resolve()), os.getpid()
        proved = proof(call.store.token, "".join(call.query("nonce")), pid)
        body = {"ok": True, "version": __version__, "root": root, "id": call.store.id, "pid": pid, "proof": proved}
        return JSONResponse(body)

    def stats(self, call: Call) -> Response:
        """GET stats: requests and received bytes since the server started; by repository for those with a token."""
        report = self._traffic.report()
        if call.caller is None:
            del report["repos"]
        return JSONResponse(report)

    def arm(self, call: Call) -> Response:
        """POST faults `{when, how, times}`: let the next commits fail."""
        call.writer()
        values = {"how": "error", "times": 1, **call.json()}
        self._faults.arm(text(values, "when"), text(values, "how"), min(number(values, "times"), 1000))
        return JSONResponse({})

    def token(self, call: Call) -> Response:
        """POST tokens `{role}`: a further token, which may write or only read."""
        call.writer()
        role = text(call.json(), "role", "read")
        if role not in ("read", "write"):
            raise Refused(400, "`role` must be read or write")
        token = new_token()
        call.store.add_token(token, role)
        return JSONResponse({"token": token, "role": role})
