"""Grants that carry their own proof: upload links and Xet tokens, which reach the server without the caller's token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

from hala_release.localhub.refused import Refused

HOUR = 3600


class Signer:
    """Makes and checks grants with a key that never leaves the store."""

    def __init__(self, root: Path) -> None:
        self._key = bytes.fromhex((root / "signing.key").read_text().strip())

    def grant(self, **claims: str | int) -> tuple[str, int]:
        """A grant of these claims, and the second at which it ends."""
        ends = int(time.time()) + HOUR
        payload = base64.urlsafe_b64encode(json.dumps({**claims, "exp": ends}).encode()).decode().rstrip("=")
        return f"{payload}.{self._proof(payload)}", ends

    def claims(self, grant: str, use: str) -> dict[str, str | int]:
        """The claims of a grant that was made here for this use and has not ended."""
        payload, _, proof = grant.partition(".")
        if not hmac.compare_digest(self._proof(payload).encode(), proof.encode(errors="replace")):
            raise Refused(403, "The link or token is not one that this Hub made")
        claims: dict[str, str | int] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if claims["use"] != use or int(claims["exp"]) < time.time():
            raise Refused(403, "The link or token has ended, or was made for something else")
        return claims

    def _proof(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(errors="replace"), hashlib.sha256).hexdigest()
