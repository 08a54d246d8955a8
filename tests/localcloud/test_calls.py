"""The journal of calls, and the faults that befall them, as botocore sees them."""

import json
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.retries.standard import ThrottledRetryableChecker

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, key_of
from localcloud.client import LocalCloud, send

client = cache(LocalCloud.client)
THROTTLED = ThrottledRetryableChecker._THROTTLED_ERROR_CODES  # noqa: SLF001


def impatient(cloud: LocalCloud, service: str) -> Any:
    """A client that does not try again."""
    key = key_of(ACCEPTANCE)
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=REGION,
        endpoint_url=cloud.endpoint,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def put(ssm: Any, value: str = "x") -> int:
    version: int = ssm.put_parameter(Name="/a", Value=value, Type="String", Overwrite=True)[
        "Version"
    ]
    return version


def value(cloud: LocalCloud) -> str | None:
    found = client(cloud, "ssm").get_parameters(Names=["/a"])["Parameters"]
    return found[0]["Value"] if found else None


def test_the_journal_tells_who_called_what_and_what_came_of_it(cloud: LocalCloud) -> None:
    put(client(cloud, "ssm"))
    with pytest.raises(ClientError):
        client(cloud, "rds", PRODUCTION).delete_db_cluster_snapshot(
            DBClusterSnapshotIdentifier="none"
        )

    first, second = cloud.calls()

    assert first.pop("time") <= second.pop("time")
    assert first == {
        "account": ACCEPTANCE,
        "principal": f"arn:aws:iam::{ACCEPTANCE}:user/admin",
        "function": None,
        "operation": "ssm:PutParameter",
        "resources": [f"arn:aws:ssm:{REGION}:{ACCEPTANCE}:parameter/a"],
        "status": 200,
        "error": None,
        "fault": None,
    }
    assert second == {
        "account": PRODUCTION,
        "principal": f"arn:aws:iam::{PRODUCTION}:user/admin",
        "function": None,
        "operation": "rds:DeleteDBClusterSnapshot",
        "resources": [f"arn:aws:rds:{REGION}:{PRODUCTION}:cluster-snapshot:none"],
        "status": 404,
        "error": "DBClusterSnapshotNotFoundFault",
        "fault": None,
    }


def test_the_journal_can_be_emptied_and_read_for_one_function(cloud: LocalCloud) -> None:
    put(client(cloud, "ssm"))

    assert cloud.calls("db-restore-from-snapshot") == []
    assert len(cloud.calls()) == 1
    cloud.clear_calls()
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("service", "operation", "kind", "code", "status"),
    [
        ("ssm", "describe_parameters", "throttle", "ThrottlingException", 400),
        ("ssm", "describe_parameters", "deny", "AccessDeniedException", 400),
        ("codepipeline", "list_pipelines", "throttle", "ThrottlingException", 400),
        ("rds", "describe_db_clusters", "throttle", "Throttling", 400),
        ("rds", "describe_db_clusters", "deny", "AccessDenied", 403),
        ("sns", "list_topics", "deny", "AuthorizationError", 403),
    ],
)
def test_an_error_is_answered_as_the_service_would(
    cloud: LocalCloud, service: str, operation: str, kind: str, code: str, status: int
) -> None:
    cloud.set_faults([{"operation": f"{service}:*", "kind": kind}])

    with pytest.raises(ClientError) as raised:
        getattr(impatient(cloud, service), operation)()

    answer = raised.value.response
    assert answer["Error"]["Code"] == code
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    (entry,) = cloud.calls()
    assert (entry["fault"], entry["error"], entry["status"]) == (kind, code, status)


SCOPE = f"{key_of(ACCEPTANCE).access_key_id}/20260104/{REGION}/ssm/aws4_request"


@pytest.mark.parametrize("kind", ["throttle", "timeout-before", "timeout-after"])
def test_a_retry_heals_a_fault_that_happens_once(cloud: LocalCloud, kind: str) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": kind}])

    version = put(client(cloud, "ssm"))

    assert version == (2 if kind == "timeout-after" else 1)
    assert [entry["fault"] for entry in cloud.calls()] == [kind, None]


def test_a_fault_hits_the_nth_call_and_as_many_as_it_says(cloud: LocalCloud) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": "deny", "nth": 2, "times": 2}])
    ssm = impatient(cloud, "ssm")

    def attempt() -> bool:
        ssm.get_parameters(Names=["/a"])
        try:
            put(ssm)
        except ClientError:
            return False
        return True

    assert [attempt() for _ in range(5)] == [True, False, False, True, True]


def test_a_fault_of_a_function_spares_others(cloud: LocalCloud) -> None:
    cloud.set_faults([{"function": "db-follow-pipeline", "operation": "*", "kind": "deny"}])
    assert put(client(cloud, "ssm")) == 1


@pytest.mark.parametrize("authorization", [None, "Basic YTpi", "AWS4-HMAC-SHA256 Credential=a"])
def test_a_call_without_a_usable_credential_is_refused(
    cloud: LocalCloud, authorization: str | None
) -> None:
    """*Common Error Types*."""
    headers = {"X-Amz-Target": "AmazonSSM.PutParameter"}
    headers |= {} if authorization is None else {"Authorization": authorization}
    status, text = send("POST", cloud.endpoint + "/", b"{}", headers)
    code = "IncompleteSignature" if authorization else "MissingAuthenticationToken"
    assert (status, json.loads(text)["__type"]) == (403, f"{code}Exception")
