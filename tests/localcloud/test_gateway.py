"""Compared with the API Gateway Developer Guide and, for SigV4, with botocore's signer."""

import json
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud.accounts import ACCEPTANCE, key_of
from localcloud.client import LocalCloud, send

ECHO = """
import json
def handler(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}
"""

Api = Callable[..., str]


@pytest.fixture
def api(cloud: LocalCloud, deploy: Callable[..., str]) -> Api:
    """Deploy ``source`` behind an API as Chalice would describe it; returns the stage's URL."""

    def make(source: str = ECHO, *, permitted: bool = True) -> str:
        apigateway = cloud.client("apigateway")
        imported = apigateway.import_rest_api(body=swagger(deploy(source)))
        apigateway.create_deployment(restApiId=imported["id"], stageName="api")
        if permitted:
            cloud.client("lambda").add_permission(
                FunctionName="probe",
                StatementId="api",
                Action="lambda:InvokeFunction",
                Principal="apigateway.amazonaws.com",
                SourceArn=f"arn:aws:execute-api:eu-west-1:{ACCEPTANCE}:{imported['id']}/*",
            )
        url = cloud.rest_url("things")
        assert url is not None
        return url

    return make


def swagger(function: str, *paths: str) -> bytes:
    method = {
        "responses": {"200": {"description": "200 response"}},
        "x-amazon-apigateway-integration": {
            "responses": {"default": {"statusCode": "200"}},
            "uri": "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/"
            f"{function}/invocations",
            "passthroughBehavior": "when_no_match",
            "httpMethod": "POST",
            "type": "aws_proxy",
        },
    }
    signed = {**method, "security": [{"sigv4": []}]}
    document = {
        "swagger": "2.0",
        "info": {"version": "1.0", "title": "things"},
        "schemes": ["https"],
        "paths": {
            "/": {"get": signed},
            "/open": {"get": method, "post": method},
            "/things/{name}": {"get": signed, "put": signed},
            **{path: {"get": method} for path in paths},
        },
        "securityDefinitions": {
            "sigv4": {
                "in": "header",
                "type": "apiKey",
                "name": "Authorization",
                "x-amazon-apigateway-authtype": "awsSigv4",
            }
        },
        "x-amazon-apigateway-binary-media-types": ["application/octet-stream"],
    }
    return json.dumps(document).encode()


def sign(
    url: str,
    method: str = "GET",
    body: bytes = b"",
    *,
    key: tuple[str, ...] | None = None,
    service: str = "execute-api",
    region: str = "eu-west-1",
    at: datetime | None = None,
    **headers: str,
) -> dict[str, str]:
    """The headers of a request, signed by botocore for a time ``at``; further ``headers`` are, too."""
    admin = key_of(ACCEPTANCE)
    credentials = Credentials(*(key or (admin.access_key_id, admin.secret_access_key)))
    request = AWSRequest(
        method, url, data=body, headers={"Content-Type": "application/json", **headers}
    )
    signer = SigV4Auth(credentials, service, region)
    request.context["timestamp"] = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)  # noqa: SLF001 (add_auth takes no time)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))  # noqa: SLF001
    return dict(request.headers)


def get(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    status, text = send("GET", url, None, headers)
    return status, json.loads(text)


def test_a_signed_request_is_let_in_and_told_who_it_is_from(api: Api) -> None:
    url = api() + "/things/one"
    status, event = get(url, sign(url))
    identity = event["requestContext"]["identity"]
    assert (status, identity["userArn"], identity["accountId"], identity["accessKey"]) == (
        200,
        f"arn:aws:iam::{ACCEPTANCE}:user/admin",
        ACCEPTANCE,
        key_of(ACCEPTANCE).access_key_id,
    )


@pytest.mark.parametrize("claimed", [False, True])
def test_a_tampered_body_does_not_match(api: Api, *, claimed: bool) -> None:
    """Whether or not the sender says what its hash was."""
    url = api() + "/things/one"
    more = {"X-Amz-Content-SHA256": "0" * 64} if claimed else {}
    headers = sign(url, "PUT", b'{"snapshot": "mine"}', **more)
    status, text = send("PUT", url, b'{"snapshot": "yours"}', headers)
    assert status == 403
    assert "does not match the signature you provided" in text


def test_an_amz_header_added_after_signing_is_not_let_in(api: Api) -> None:
    url = api() + "/things/one"
    status, answer = get(url, sign(url) | {"X-Amz-Meta": "forged"})
    assert status == 403
    assert answer["message"].endswith("must be a 'SignedHeader' in the AWS Authorization.")
    assert get(url, sign(url, **{"X-Amz-Meta": "mine"}))[0] == 200


def test_signatures_count_by_the_worlds_clock(cloud: LocalCloud, api: Api) -> None:
    url = api() + "/things/one"
    cloud.set_clock(datetime(2030, 1, 1, tzinfo=UTC))
    assert get(url, sign(url))[0] == 200


def test_an_identity_without_permission_is_not_authorized(api: Api) -> None:
    url = api()
    visitor = key_of(ACCEPTANCE, "visitor")
    headers = sign(f"{url}/things/one", key=(visitor.access_key_id, visitor.secret_access_key))
    api_id = url.split("/")[-2]
    assert get(f"{url}/things/one", headers) == (
        403,
        {
            "Message": f"User: arn:aws:iam::{ACCEPTANCE}:user/visitor is not authorized to perform: "
            "execute-api:Invoke on resource: "
            f"arn:aws:execute-api:eu-west-1:********2222:{api_id}/api/GET/things/one"
        },
    )


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("PUT", 403)])
def test_a_roles_session_may_do_what_its_policy_says(
    cloud: LocalCloud, api: Api, method: str, status: int
) -> None:
    url = api() + "/things/one"
    iam = cloud.client("iam")
    role = iam.create_role(RoleName="tester", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "execute-api:Invoke",
                "Resource": f"arn:aws:execute-api:eu-west-1:{ACCEPTANCE}:*/api/GET/*",
            }
        ],
    }
    iam.put_role_policy(RoleName="tester", PolicyName="read", PolicyDocument=json.dumps(policy))
    session = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="anna")["Credentials"]
    key = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    got, text = send(method, url, None, sign(url, method, key=key))
    assert got == status
    assert f"arn:aws:sts::{ACCEPTANCE}:assumed-role/tester/anna" in text


ALLOW = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statements", "path", "status"),
    [
        ([{"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::other"}], "/things/one", 403),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "{api}/*"}], "/things/one", 403),
        ([ALLOW, {"Effect": "Deny", "Action": "*", "Resource": "{api}/api/GET/things/on?"}],
         "/things/one", 403),
        ([ALLOW, {"Effect": "Deny", "Action": "Execute-API:invoke", "Resource": "*"}],
         "/things/one", 403),
        ([{"Effect": "Allow", "Action": "*", "Resource": "{api}/api/GET/things.one"}],
         "/things/one", 403),
        ([ALLOW, {"Effect": "Deny", "Action": "*", "Resource": "*",
                  "Condition": {"Bool": {"aws:SecureTransport": "false"}}}], "/things/one", 200),
        ([ALLOW, {"Effect": "Deny", "Action": "*", "Resource": "*",
                  "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}], "/things/one", 500),
        ([ALLOW, {"Effect": "Deny", "Action": "*", "Resource": "{api}/api/GET/things/one"}],
         "/things/one/", 403),
        ([ALLOW], "/things/one/", 200),
        ([ALLOW], "//things/one", 403),
        ([ALLOW], "/things//one", 403),
        ([ALLOW], "/things/one//", 403),
    ],
)  # fmt: skip
def test_who_may_call_is_weighed_as_iam_weighs_it(
    cloud: LocalCloud, api: Api, statements: list[Any], path: str, status: int
) -> None:
    """On the path that is called, however it is spelt; one with an empty segment is nobody's."""
    url = api()
    arn = f"arn:aws:execute-api:eu-west-1:{ACCEPTANCE}:{url.split('/')[-2]}"
    document = json.dumps({"Version": "2012-10-17", "Statement": statements}).replace("{api}", arn)
    cloud.client("iam").put_user_policy(UserName="visitor", PolicyName="p", PolicyDocument=document)
    visitor = key_of(ACCEPTANCE, "visitor")
    key = (visitor.access_key_id, visitor.secret_access_key)
    assert get(url + path, sign(url + path, key=key))[0] == status


def test_a_deleted_roles_session_is_invalid(cloud: LocalCloud, api: Api) -> None:
    url = api() + "/things/one"
    iam = cloud.client("iam")
    role = iam.create_role(RoleName="gone", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    session = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="anna")["Credentials"]
    iam.delete_role(RoleName="gone")
    key = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    assert get(url, sign(url, key=key)) == (
        403,
        {"message": "The security token included in the request is invalid."},
    )


@pytest.mark.parametrize(
    ("path", "resource", "parameters"),
    [
        ("/", "/", None),
        ("/things/one", "/things/{name}", {"name": "one"}),
        ("/things/a%20b%2Fc", "/things/{name}", {"name": "a b/c"}),
    ],
)
def test_a_path_leads_to_its_resource(
    api: Api, path: str, resource: str, parameters: dict[str, str] | None
) -> None:
    url = api() + path
    status, event = get(url, sign(url))
    assert (status, event["resource"], event["pathParameters"]) == (200, resource, parameters)


def test_the_event_is_that_of_the_proxy_integration(api: Api) -> None:
    url = api()
    query = urllib.parse.urlencode([("a", "1"), ("a", "2"), ("b", "x/y")])
    status, text = send("POST", f"{url}/open?{query}", "Grüße".encode(), {"X-Test": "yes"})
    event = json.loads(text)
    context = event["requestContext"]
    assert (status, event["headers"]["X-Test"], event["multiValueHeaders"]["X-Test"]) == (
        200,
        "yes",
        ["yes"],
    )
    assert {
        name: event[name]
        for name in (
            "resource",
            "path",
            "httpMethod",
            "queryStringParameters",
            "multiValueQueryStringParameters",
            "pathParameters",
            "stageVariables",
            "body",
            "isBase64Encoded",
        )
    } == {
        "resource": "/open",
        "path": "/open",
        "httpMethod": "POST",
        "queryStringParameters": {"a": "2", "b": "x/y"},
        "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x/y"]},
        "pathParameters": None,
        "stageVariables": None,
        "body": "Grüße",
        "isBase64Encoded": False,
    }
    assert (context["stage"], context["path"], context["resourcePath"], context["accountId"]) == (
        "api",
        "/api/open",
        "/open",
        ACCEPTANCE,
    )
    assert context["identity"]["userArn"] is None


def test_the_answer_is_mapped_back(cloud: LocalCloud, api: Api) -> None:
    url = api(
        """
        def handler(event, context):
            return {"statusCode": 404, "headers": {"Content-Type": "text/plain"}, "body": "gone"}
        """
    )
    assert send("GET", f"{url}/open", None, {}) == (404, "gone")
    assert cloud.invocations("probe")[-1]["status"] == "succeeded"


@pytest.mark.parametrize(
    "answer",
    ["1 / 0", "'text'"],
)
def test_a_failure_or_a_malformed_answer_is_a_bad_gateway(api: Api, answer: str) -> None:
    url = api(f"def handler(event, context): return {answer}")
    assert get(f"{url}/open", {}) == (502, {"message": "Internal server error"})


def test_an_api_that_may_not_invoke_its_function_fails(cloud: LocalCloud, api: Api) -> None:
    url = api(permitted=False)
    assert get(f"{url}/open", {}) == (500, {"message": "Internal server error"})
    assert cloud.invocations() == []


def test_a_stage_serves_what_was_deployed_not_what_was_imported_since(
    cloud: LocalCloud, api: Api
) -> None:
    url = api()
    apigateway = cloud.client("apigateway")
    api_id = url.split("/")[-2]
    function = cloud.client("lambda").get_function_configuration(FunctionName="probe")
    body = swagger(function["FunctionArn"], "/new")
    apigateway.put_rest_api(restApiId=api_id, mode="overwrite", body=body)
    assert get(f"{url}/new", {})[0] == 403
    apigateway.create_deployment(restApiId=api_id, stageName="api")
    assert get(f"{url}/new", {})[0] == 200


def test_methods_tell_how_they_are_authorized(cloud: LocalCloud, api: Api) -> None:
    api_id = api().split("/")[-2]
    apigateway = cloud.client("apigateway")
    resources = apigateway.get_resources(restApiId=api_id)["items"]
    kinds = {
        resource["path"]: apigateway.get_method(
            restApiId=api_id, resourceId=resource["id"], httpMethod="GET"
        )["authorizationType"]
        for resource in resources
        if "resourceMethods" in resource
    }
    assert kinds == {
        "/": "AWS_IAM",
        "/open": "NONE",
        "/things/{name}": "AWS_IAM",
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_signs_as_botocore_does(api: Api) -> None:
    admin = key_of(ACCEPTANCE)
    answer = subprocess.run(
        [
            *("curl", "--silent", "--noproxy", "*", "--request", "PUT"),
            *("--aws-sigv4", "aws:amz:eu-west-1:execute-api"),
            *("--user", f"{admin.access_key_id}:{admin.secret_access_key}"),
            *("--header", "Content-Type: application/json", "--data", '{"snapshot": "latest"}'),
            f"{api()}/things/one?database=rds",
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(json.loads(answer.stdout)["body"]) == {"snapshot": "latest"}
