"""Tokens never leave the process by another way than to the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from hala_release import hub
from hala_release.errors import HubDenied
from tests import factories
from tests.factories import hala_release

SECRETS = (
    "hf_" + "aB3" * 11,
    "hf_jwt_eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln-bmF0_dXJl",
    "hf_oauth_eyJhbGci-OiJFUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_every_kind_of_token_is_cut_out_of_what_the_hub_said(secret: str) -> None:
    assert hub._redacted(f"no: {secret} is unknown") == "no: <token> is unknown"


def test_a_token_that_cannot_be_had_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    factories.family(tmp_path)
    done = hala_release(
        "plan",
        "--hub",
        "http://127.0.0.1:9",
        cwd=tmp_path,
        HF_OIDC_RESOURCE="datasets/a/b",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert (done.returncode, "unset HF_OIDC_RESOURCE" in done.stderr) == (HubDenied.exit_code, True), done.stderr
