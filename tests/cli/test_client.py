"""The client of the deployed API: how it finds, signs, and reads refusals."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from botocore.session import Session

from cli.client import ApiClient, ApiError, find_api_url


class Gateway:
    """An account's REST APIs, each with the function that it leads to; one is deleted meanwhile."""

    exceptions = SimpleNamespace(NotFoundException=KeyError)

    def __init__(self, endpoint: str, **apis: str) -> None:
        self.meta = SimpleNamespace(endpoint_url=endpoint, region_name="eu-west-1")
        self._apis = apis

    def get_stages(self, restApiId: str) -> Any:  # noqa: N803
        return {"item": [{"stageName": f"stage-of-{restApiId}"}]}

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=getattr(self, operation))

    def get_rest_apis(self) -> Iterator[Any]:
        for day, api in enumerate([*self._apis, "another", "deleted"]):  # a page each
            name = "other" if api == "another" else "aurora-refresh"
            yield {"items": [{"id": api, "name": name, "createdDate": day}]}

    def get_resources(self, restApiId: str, embed: list[str]) -> Iterator[Any]:  # noqa: N803
        assert embed == ["methods"]
        uri = f"arn:aws:apigateway:…:function:{self._apis[restApiId]}/invocations"
        yield {"items": [{}, {"resourceMethods": {"GET": {"methodIntegration": {"uri": uri}}}}]}


AWS = "https://apigateway.{}"
EXECUTE = "https://b.execute-api.{}/stage-of-b"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        *(
            (AWS.format(region), EXECUTE.format(region))
            for region in ("eu-west-1.amazonaws.com", "cn-north-1.amazonaws.com.cn")
        ),
        (
            AWS.format("us-gov-west-1.amazonaws.com").replace("y.", "y-fips."),
            EXECUTE.format("us-gov-west-1.amazonaws.com"),
        ),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/_aws/execute-api/b/stage-of-b"),
    ],
)
def test_the_api_is_found_by_the_stage_in_every_partition(endpoint: str, url: str) -> None:
    gateway = Gateway(endpoint, a="aurora-refresh-acceptance-2", b="aurora-refresh-acceptance")
    session: Any = SimpleNamespace(create_client=lambda _, config: gateway)
    assert find_api_url(session, "acceptance") == url
    with pytest.raises(ApiError, match="There is no API of stage 'test' in Region eu-west-1"):
        find_api_url(session, "test")


def test_a_stage_with_two_apis_is_ambiguous() -> None:
    name = "aurora-refresh-acceptance"
    session: Any = SimpleNamespace(
        create_client=lambda _, config: Gateway("https://x", a=name, b=name)
    )
    with pytest.raises(ApiError, match=r"has several APIs: a, b\. Name one with --url\."):
        find_api_url(session, "acceptance")


class Api(BaseHTTPRequestHandler):
    """Answers what the server has to answer, and keeps what it was asked."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked = self.path, dict(self.headers), json.loads(body)  # type: ignore[attr-defined]
        status, headers, answer = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.shutdown()


def session_of(*credentials: str) -> Session:
    session = Session()
    session.set_credentials(*credentials)
    session.set_config_variable("region", "eu-west-1")
    return session


def client_of(api: Any) -> ApiClient:
    session = session_of("AKIAX", "secret", "token")
    return ApiClient(f"http://127.0.0.1:{api.server_port}/api/", session)


def test_a_request_is_signed_with_temporary_credentials(api: Any) -> None:
    api.answer = 200, {}, b'{"current": "x"}'
    assert client_of(api).pin("a", database="rds", deploy=True) == {"current": "x"}
    path, headers, body = api.asked
    assert (path, body) == (
        "/api/snapshots/current",
        {"snapshot": "a", "database": "rds", "deploy": True},
    )
    assert headers["X-Amz-Security-Token"] == "token"
    assert "/eu-west-1/execute-api/aws4_request, SignedHeaders=" in headers["Authorization"]


@pytest.mark.parametrize(
    ("status", "headers", "body", "error"),
    [
        (409, {}, {"Code": "ConflictError", "Message": "busy"}, (409, "ConflictError", "busy")),
        (
            403,
            {"x-amzn-ErrorType": "ForbiddenException"},
            {"message": "Forbidden"},
            (403, "ForbiddenException", "Forbidden"),
        ),
        *(
            (200, {}, body, (502, "NoJson", "did not answer with a JSON object."))
            for body in ("", [], ["a"], "text", 7)
        ),
    ],
)
def test_a_refusal_has_a_status_a_code_and_a_message(
    api: Any, status: int, headers: Any, body: Any, error: tuple[int, str, str]
) -> None:
    api.answer = status, headers, json.dumps(body).encode() if body != "" else b"<html>"
    with pytest.raises(ApiError) as raised:
        client_of(api).hold("2026-12-03")
    assert (raised.value.status, raised.value.code) == error[:2]
    assert raised.value.message.endswith(error[2])


def test_who_the_caller_is_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def create_client(_: str, config: Config) -> Any:
        used.append(
            (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"]
        )
        raise NoCredentialsError

    session = session_of("AKIAX", "secret")
    monkeypatch.setattr(session, "create_client", create_client)
    with pytest.raises(ApiError):
        ApiClient("https://a", session).identity()
    assert used == [30]


def test_without_an_answer_there_is_no_status_but_a_next_step() -> None:
    session = session_of("AKIAX", "secret")
    with pytest.raises(ApiError) as raised:
        ApiClient("http://127.0.0.1:9", session).status()
    assert (raised.value.status, raised.value.code) == (None, "Unreachable")
    assert raised.value.next_step == "Check your network, VPN and proxy, then try again."


def test_credentials_that_have_expired_are_no_missing_permission(api: Any) -> None:
    message = "The security token included in the request is expired"
    body = json.dumps({"message": message}).encode()
    api.answer = 403, {"x-amzn-ErrorType": "ExpiredTokenException"}, body
    with pytest.raises(ApiError, match=message) as raised:
        client_of(api).hold("2026-12-03")
    assert raised.value.next_step.startswith("Sign in, for example with aws sso login")


def test_a_profile_s_certificates_are_used_for_the_api_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nca_bundle = company.pem\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    used = []

    def http(verify: object, *_: object) -> Any:
        used.append(verify)
        raise EndpointConnectionError(endpoint_url="https://a")

    monkeypatch.setattr("cli.client.URLLib3Session", http)
    with pytest.raises(ApiError, match="Could not connect"):
        ApiClient("https://a", session_of("AKIAX", "secret")).status()
    assert used == ["company.pem"]


@pytest.mark.parametrize(
    ("variable", "value", "code", "step"),
    [
        ("AWS_DEFAULT_REGION", "", "NoRegion", "Name the stage's Region"),
        ("AWS_DEFAULT_REGION", "eu west", "InvalidRegion", "Name the stage's Region"),
        ("AWS_ENDPOINT_URL", "foo", "Malformed", "Check the command, and the variables"),
        ("AWS_SECRET_ACCESS_KEY", "\udcff", "Malformed", "Check the command, and the variables"),
    ],
)
def test_a_malformed_variable_is_no_missing_credential(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: str, step: str
) -> None:
    given = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    for name, text in {**given, variable: value}.items():
        monkeypatch.setenv(name, text)
    session = Session()
    with pytest.raises(ApiError) as raised:
        ApiClient(lambda: find_api_url(session, "acceptance"), session).status()
    assert (raised.value.code, raised.value.next_step[: len(step)]) == (code, step)
