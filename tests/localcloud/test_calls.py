"""The journal of calls, and the faults that a test orders, as botocore sees them."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud, send


def put(ssm: Any) -> int:
    put = ssm.put_parameter(Name="/a", Value="x", Type="String", Overwrite=True)
    version: int = put["Version"]
    return version


@pytest.mark.parametrize(
    ("kind", "version"), [("throttle", 1), ("timeout-before", 1), ("timeout-after", 2)]
)
def test_a_retry_heals_a_fault_that_happens_once(
    cloud: LocalCloud, kind: str, version: int
) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": kind}])
    assert put(cloud.client("ssm")) == version
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


def test_a_fault_hits_the_nth_call_and_as_many_as_it_says(cloud: LocalCloud) -> None:
    of_a_function = {"function": "db-follow-pipeline", "operation": "*", "kind": "throttle"}
    second = {"operation": "ssm:Put*", "kind": "deny", "nth": 2, "times": 2}
    cloud.set_faults([of_a_function, second])
    ssm = cloud.client("ssm")

    def succeeds() -> bool:
        ssm.get_parameters(Names=["/a"])
        try:
            put(ssm)
        except ClientError:
            return False
        return True

    assert [succeeds() for _ in range(5)] == [True, False, False, True, True]
