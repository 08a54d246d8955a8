"""The journal of calls, and the faults that befall them, as botocore sees them."""

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError
from botocore.retries.standard import ThrottledRetryableChecker

from localcloud import authorization, calls, functions, identities, wire
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, key_of
from localcloud.client import LocalCloud, send
from localcloud.identities import Caller

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


def test_the_gate_lets_every_protocol_through(cloud: LocalCloud) -> None:
    """rest-xml with a body and HEAD, rest-json, query and JSON, as botocore reads their answers."""
    s3 = client(cloud, "s3")
    s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="artifacts", Key="package.zip", Body=b"\x00\xff" * 10)
    api = client(cloud, "apigateway").create_rest_api(name="aurora-refresh", description="-")
    client(cloud, "dynamodb").list_tables()
    client(cloud, "events").put_rule(Name="weekly", ScheduleExpression="rate(7 days)")
    metric = {"MetricName": "Outcome", "Value": 1.0}
    client(cloud, "cloudwatch").put_metric_data(Namespace="x" * 50, MetricData=[metric] * 300)

    assert s3.head_object(Bucket="artifacts", Key="package.zip")["ContentLength"] == 20
    assert s3.get_object(Bucket="artifacts", Key="package.zip")["Body"].read() == b"\x00\xff" * 10
    assert api["name"] == "aurora-refresh"
    assert [entry["operation"] for entry in cloud.calls()] == [
        "s3:CreateBucket",
        "s3:PutObject",
        "apigateway:CreateRestApi",
        "dynamodb:ListTables",
        "events:PutRule",
        "cloudwatch:PutMetricData",
        "s3:HeadObject",
        "s3:GetObject",
    ]
    assert {entry["status"] for entry in cloud.calls()} <= {200, 201}


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
        ("ssm", "describe_parameters", "server-error", "InternalServerError", 500),
        ("ssm", "describe_parameters", "deny", "AccessDeniedException", 400),
        ("codepipeline", "list_pipelines", "throttle", "ThrottlingException", 400),
        ("codepipeline", "list_pipelines", "server-error", "InternalFailure", 500),
        ("rds", "describe_db_clusters", "throttle", "Throttling", 400),
        ("rds", "describe_db_clusters", "server-error", "InternalFailure", 500),
        ("rds", "describe_db_clusters", "deny", "AccessDenied", 403),
        ("lambda", "list_functions", "throttle", "TooManyRequestsException", 429),
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


@pytest.mark.parametrize("service", ["ssm", "codepipeline", "rds", "sns", "lambda", "cloudwatch"])
def test_a_throttled_call_is_one_that_botocore_takes_for_throttled(
    cloud: LocalCloud, service: str
) -> None:
    operations = {
        "ssm": "describe_parameters",
        "codepipeline": "list_pipelines",
        "rds": "describe_db_clusters",
        "sns": "list_topics",
        "lambda": "list_functions",
        "cloudwatch": "list_metrics",
    }
    cloud.set_faults([{"operation": f"{service}:*", "kind": "throttle"}])

    with pytest.raises(ClientError) as raised:
        getattr(impatient(cloud, service), operations[service])()

    assert raised.value.response["Error"]["Code"] in THROTTLED


def unsigned(cloud: LocalCloud, **headers: str) -> tuple[int, str]:
    body = b'{"Name": "/a", "Value": "x", "Type": "String"}'
    target = {"X-Amz-Target": "AmazonSSM.PutParameter"}
    kind = {"Content-Type": "application/x-amz-json-1.1"}
    return send("POST", cloud.endpoint + "/", body, kind | target | headers)


SCOPE = f"{key_of(ACCEPTANCE).access_key_id}/20260104/{REGION}/ssm/aws4_request"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "MissingAuthenticationTokenException"),
        ("Basic YTpi", "IncompleteSignatureException"),
        (f"AWS4-HMAC-SHA256 Credential={SCOPE}", "IncompleteSignatureException"),
        (f"aws4-hmac-sha256 Credential={SCOPE}, SignedHeaders=host, Signature=x",
         "IncompleteSignatureException"),
        (f"AWS4-HMAC-SHA512 Credential={SCOPE}, SignedHeaders=host, Signature=x",
         "IncompleteSignatureException"),
    ],
)  # fmt: skip
def test_a_call_without_a_usable_credential_is_refused_and_entered_in_the_journal(
    cloud: LocalCloud, authorization: str | None, code: str
) -> None:
    given = {} if authorization is None else {"Authorization": authorization}

    status, text = unsigned(cloud, **given)

    assert (status, json.loads(text)["__type"]) == (403, code)
    (entry,) = cloud.calls()
    told = (entry["account"], entry["principal"], entry["operation"], entry["error"])
    assert told == (None, None, "unsigned:PutParameter", code)
    assert value(cloud) is None


@pytest.mark.parametrize("credential", [
    f"Credential={SCOPE},SignedHeaders=host,Signature=x",
    f" SignedHeaders=host,  Signature=x, Credential={SCOPE}",
])  # fmt: skip
def test_a_credential_counts_however_the_header_is_written(
    cloud: LocalCloud, credential: str
) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": "deny"}])

    status, _ = unsigned(cloud, Authorization=f"AWS4-HMAC-SHA256 {credential}")

    assert status == 400
    (entry,) = cloud.calls()
    assert (entry["operation"], entry["fault"]) == ("ssm:PutParameter", "deny")


def test_unsigned_is_let_through_what_aws_takes_unsigned(cloud: LocalCloud) -> None:
    model = botocore.session.get_session().get_service_model("sts")
    assert {
        name for name in model.operation_names if model.operation_model(name).auth_type == "none"
    } == set(wire._UNSIGNED)  # noqa: SLF001
    sts = boto3.client(
        "sts",
        region_name=REGION,
        endpoint_url=cloud.endpoint,
        config=Config(signature_version=botocore.UNSIGNED, proxies={}),
    )

    answer = sts.assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{ACCEPTANCE}:role/r", RoleSessionName="web", WebIdentityToken="token"
    )
    with pytest.raises(ClientError, match="MissingAuthenticationToken"):
        sts.get_caller_identity()

    assert answer["Credentials"]["AccessKeyId"]


def test_a_body_in_chunks_is_read_to_its_end(cloud: LocalCloud) -> None:
    """The body matters to IAM, too: which parameter is put?"""
    body = b'{"Name": "/a", "Value": "x", "Type": "String"}'
    connection = http.client.HTTPConnection(cloud.endpoint.removeprefix("http://"))
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=x",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AmazonSSM.PutParameter",
    }
    connection.request("POST", "/", iter([body[:10], body[10:]]), headers, encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    connection.close()

    assert answer.status == 200
    assert cloud.calls()[0]["resources"] == [f"arn:aws:ssm:{REGION}:{ACCEPTANCE}:parameter/a"]
    assert value(cloud) == "x"


@pytest.mark.parametrize("kind", ["throttle", "server-error", "timeout-before", "timeout-after"])
def test_a_retry_heals_a_fault_that_happens_once(cloud: LocalCloud, kind: str) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": kind}])

    version = put(client(cloud, "ssm"))

    assert version == (2 if kind == "timeout-after" else 1)
    assert [entry["fault"] for entry in cloud.calls()] == [kind, None]


@pytest.mark.parametrize(("kind", "left"), [("timeout-before", None), ("timeout-after", "x")])
def test_a_call_that_times_out_has_taken_effect_or_not(
    cloud: LocalCloud, kind: str, left: str | None
) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": kind}])

    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        put(impatient(cloud, "ssm"))

    assert value(cloud) == left


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


def test_a_fault_may_last_and_replacing_the_faults_ends_it(cloud: LocalCloud) -> None:
    ssm = impatient(cloud, "ssm")
    cloud.set_faults([{"operation": "*", "kind": "server-error", "times": 0}])
    for _ in range(3):
        with pytest.raises(ClientError):
            put(ssm)

    cloud.set_faults([])

    assert put(ssm) == 1


def test_a_fault_of_a_function_spares_others(cloud: LocalCloud) -> None:
    cloud.set_faults([{"function": "db-follow-pipeline", "operation": "*", "kind": "deny"}])
    assert put(client(cloud, "ssm")) == 1


@pytest.mark.parametrize(
    "fault", [{"operation": "*", "kind": "explode"}, {"operation": "*"}, {"kind": "deny"}]
)
def test_a_fault_that_makes_no_sense_is_refused(cloud: LocalCloud, fault: Any) -> None:
    with pytest.raises(ValueError, match=r"kind|operation"):
        cloud.set_faults([fault])


class TestKilling:
    """In this process, with a process of our own in the place of a function's."""

    @pytest.fixture
    def victim(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        monkeypatch.setattr(functions, "pid_of", lambda _: process.pid)
        monkeypatch.setattr(functions, "function_of", lambda _: "aurora-refresh-dev-restore")
        caller = Caller(ACCEPTANCE, "arn", "id", "ASIAFUNCTION", Credentials("", ""))
        monkeypatch.setattr(identities, "identify", lambda *_: caller)
        monkeypatch.setattr(authorization, "refusal", lambda *_: None)
        yield process
        calls.reset()
        process.kill()
        process.wait()

    @pytest.mark.parametrize(("kind", "asked"), [("kill-before", 0), ("kill-after", 1)])
    def test_the_caller_is_killed_before_or_after_the_call_takes_effect(
        self, victim: subprocess.Popen[bytes], kind: str, asked: int
    ) -> None:
        reached = []

        def service(_environ: Any, start_response: Any) -> list[bytes]:
            reached.append(1)
            start_response("200 OK", [])
            return [b"{}"]

        calls.ROUTES["PUT", "/_cloud/faults"](
            [{"function": "-restore", "operation": "ssm:PutParameter", "kind": kind}]
        )
        ours, theirs = socket.socketpair()
        body = b'{"Name": "/a", "Value": "x"}'
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/x-amz-json-1.1",
            "HTTP_X_AMZ_TARGET": "AmazonSSM.PutParameter",
            "HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential="
            "ASIAFUNCTION/20260104/eu-west-1/ssm/aws4_request, SignedHeaders=x, Signature=x",
            "werkzeug.socket": ours,
        }
        with ours, theirs:
            with pytest.raises(ConnectionAbortedError):
                calls.CallGate(service)(environ, lambda *_: None)
            assert theirs.recv(1) == b""

        assert victim.wait(5) == -signal.SIGKILL
        assert len(reached) == asked
        (entry,) = calls.ROUTES["GET", "/_cloud/calls"]({"function": "restore"})
        assert (entry["function"], entry["fault"]) == ("aurora-refresh-dev-restore", kind)
        assert entry["status"] == (200 if asked else None)

    def test_a_caller_that_has_ended_by_itself_is_hung_up_on_all_the_same(
        self, victim: subprocess.Popen[bytes]
    ) -> None:
        victim.kill()
        victim.wait()
        call = wire.Call("ASIAFUNCTION", None, ACCEPTANCE, REGION, "ssm", "PutParameter")
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(ConnectionAbortedError):
            calls._hang_up({"werkzeug.socket": ours}, call, kill=True)  # noqa: SLF001
