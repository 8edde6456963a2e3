"""How every refusal looks on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from hala_release.errors import HalaError


class Refused(HalaError):
    """A request that is answered with a status and a sentence; the client turns the code into its own exception."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.body = dict(body or {})

    def response(self) -> Response:
        """The refusal as JSON, with the headers that the client reads first."""
        headers = {"X-Error-Message": header_text(self.message), **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message, **self.body}, self.status, headers)


class Dropped(HalaError):
    """The connection is to be cut instead of answered; only a fault asks for this."""


def header_text(message: str) -> str:
    """A sentence as one header line: no line breaks, latin-1 only, not too long."""
    printable = "".join(c if c.isprintable() else " " for c in message)
    return printable.encode("latin-1", "replace").decode("latin-1")[:1000].strip()
