"""Calls that are not signed. tests/e2e/test_night.py orders faults, test_permissions.py reads the journal."""

import json

import pytest

from localcloud.client import LocalCloud, send


@pytest.mark.parametrize("headers", [{}, {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b"}])
def test_an_unsigned_call_is_forbidden(cloud: LocalCloud, headers: dict[str, str]) -> None:
    """*Common errors*: MissingAuthenticationToken and IncompleteSignature."""
    target = {"X-Amz-Target": "AmazonSSM.GetParameters"}
    status, text = send("POST", cloud.endpoint, b"{}", target | headers)
    assert status == 403
    assert json.loads(text)["__type"].endswith("Exception")
    assert cloud.calls() == []
