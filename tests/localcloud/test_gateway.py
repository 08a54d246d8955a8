"""Compared with the API Gateway Developer Guide.

The end-to-end tests show that an imported API keeps its authorizers, and that wrong signatures are refused.
"""

import json
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud, send
from tests.localcloud.probe import allow, create_function, permit

ECHO = """
import json
def handler(event, context):
    return {"statusCode": 201, "body": json.dumps(event)}
"""
INTEGRATION = {
    "uri": "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{function}/invocations",
    "httpMethod": "POST",
    "type": "aws_proxy",
}

Api = Callable[..., str]


def arn_of(url: str) -> str:
    """Return the ARN of the API at a stage's URL."""
    return f"arn:aws:execute-api:{REGION}:{ACCEPTANCE}:{url.split('/')[-2]}/*"


@pytest.fixture
def api(cloud: LocalCloud) -> Api:
    """Deploys ``source`` behind an API as Chalice describes it; returns the stage's URL."""

    def make(source: str = ECHO) -> str:
        uri = INTEGRATION["uri"].format(function=create_function(cloud, source))
        open_ = {"x-amazon-apigateway-integration": {**INTEGRATION, "uri": uri}, "responses": {}}
        signed = {**open_, "security": [{"sigv4": []}]}
        scheme = {
            "in": "header",
            "type": "apiKey",
            "name": "Authorization",
            "x-amazon-apigateway-authtype": "awsSigv4",
        }
        document = {
            "swagger": "2.0",
            "info": {"version": "1.0", "title": "things"},
            "paths": {"/open": {"post": open_}, "/things": {"get": signed, "put": signed}},
            "securityDefinitions": {"sigv4": scheme},
        }
        apigateway = cloud.client("apigateway")
        imported = apigateway.import_rest_api(body=json.dumps(document).encode())
        apigateway.create_deployment(restApiId=imported["id"], stageName="api")
        url = f"{cloud.endpoint}/_aws/execute-api/{imported['id']}/api"
        permit(cloud, "apigateway", arn_of(url))
        return url

    return make


def test_the_event_is_that_of_the_proxy_integration_and_the_answer_is_mapped_back(
    api: Api,
) -> None:
    """*Set up Lambda proxy integrations in API Gateway*."""
    url = api()
    query = urllib.parse.urlencode([("a", "1"), ("a", "2"), ("b", "x/y")])
    status, text = send("POST", f"{url}/open?{query}", "Grüße".encode(), {"X-Test": "yes"})
    event = json.loads(text)
    headers, many_headers = event.pop("headers"), event.pop("multiValueHeaders")
    assert (status, headers["X-Test"], many_headers["X-Test"]) == (201, "yes", ["yes"])
    assert event == {
        "resource": "/open",
        "path": "/open",
        "httpMethod": "POST",
        "queryStringParameters": {"a": "2", "b": "x/y"},
        "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x/y"]},
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "POST",
            "identity": {"accountId": None, "userArn": None},
            "path": "/api/open",
            "resourcePath": "/open",
            "stage": "api",
        },
        "body": "Grüße",
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("body", ["1 / 0", "return {'body': ''}", "return 'text'"])
def test_a_failure_of_the_function_is_a_bad_gateway(api: Api, body: str) -> None:
    """*Handling errors with an API Gateway API*: "returns an error, or … the wrong format"."""
    url = api(f"def handler(event, context): {body}")
    assert send("POST", f"{url}/open", None, {}) == (502, '{"message": "Internal server error"}')


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("remove_permission", {"StatementId": "apigateway"}),
        ("put_function_concurrency", {"ReservedConcurrentExecutions": 0}),
        ("delete_function", {}),
    ],
)
def test_an_invocation_that_lambda_refuses_is_an_internal_error(
    cloud: LocalCloud, api: Api, operation: str, parameters: dict[str, Any]
) -> None:
    """*Handling errors with an API Gateway API*: "If the Lambda API rejects the invocation request"."""
    url = api()
    getattr(cloud.client("lambda"), operation)(FunctionName="probe", **parameters)
    assert send("POST", f"{url}/open", None, {}) == (500, '{"message": "Internal server error"}')
    assert cloud.invocations() == []


@pytest.mark.parametrize(("method", "status"), [("GET", 201), ("PUT", 403), ("POST", 403)])
def test_a_session_may_call_what_its_roles_policy_allows(
    cloud: LocalCloud, api: Api, method: str, status: int
) -> None:
    """*Control access to a REST API with IAM permissions*; the signature's date is that of the real world."""
    url = f"{api()}/things"
    iam = cloud.client("iam")
    role = iam.create_role(RoleName="tester", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    allowed = f"arn:aws:execute-api:{REGION}:{ACCEPTANCE}:*/api/GET/*"
    policy = allow("execute-api:Invoke", allowed)
    iam.put_role_policy(RoleName="tester", PolicyName="read", PolicyDocument=policy)
    session = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="anna")["Credentials"]
    cloud.set_clock(datetime(2030, 1, 1, tzinfo=UTC))

    key = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    request = AWSRequest(method, url)
    SigV4Auth(Credentials(*key), "execute-api", REGION).add_auth(request)
    got, text = send(method, url, None, dict(request.headers))

    caller = f"arn:aws:sts::{ACCEPTANCE}:assumed-role/tester/anna"
    assert got == status
    if method == "GET":
        assert json.loads(text)["requestContext"]["identity"]["userArn"] == caller
    elif method == "PUT":
        api_id = url.split("/")[-3]
        resource = f"arn:aws:execute-api:{REGION}:********2222:{api_id}/api/PUT/things"
        may_not = (
            f"{caller} is not authorized to perform: execute-api:Invoke on resource: {resource}"
        )
        assert json.loads(text) == {"Message": f"User: {may_not}"}
    else:
        assert json.loads(text) == {"message": "Missing Authentication Token"}
