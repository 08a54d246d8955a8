"""The journal of calls, and the faults that a test orders, as botocore sees them."""

import json

import pytest

from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud, send


@pytest.mark.parametrize(("kind", "version"), [("throttle", 1), ("timeout-after", 2)])
def test_a_retry_heals_a_fault_that_happens_once(
    cloud: LocalCloud, kind: str, version: int
) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": kind}])
    put = cloud.client("ssm").put_parameter(Name="/a", Value="x", Type="String", Overwrite=True)
    assert put["Version"] == version
    parameter = f"arn:aws:ssm:{REGION}:{ACCEPTANCE}:parameter/a"
    call = {"function": "", "operation": "ssm:PutParameter", "resources": [parameter]}
    assert cloud.calls() == [call, call]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b"}])
def test_an_unsigned_call_is_forbidden(cloud: LocalCloud, headers: dict[str, str]) -> None:
    """*Common errors*: MissingAuthenticationToken and IncompleteSignature."""
    target = {"X-Amz-Target": "AmazonSSM.GetParameters"}
    status, text = send("POST", cloud.endpoint, b"{}", target | headers)
    assert status == 403
    assert json.loads(text)["__type"].endswith("Exception")
    assert cloud.calls() == []
