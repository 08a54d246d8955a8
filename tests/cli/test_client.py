"""The client of the deployed API: how it finds, signs, and reads refusals."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
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


def session_of(gateway: Gateway) -> Any:
    return SimpleNamespace(create_client=lambda _, config: gateway)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (
            "https://apigateway.cn-north-1.amazonaws.com.cn",
            "https://b.execute-api.cn-north-1.amazonaws.com.cn/stage-of-b",
        ),
        (
            "https://apigateway-fips.us-gov-west-1.amazonaws.com",
            "https://b.execute-api.us-gov-west-1.amazonaws.com/stage-of-b",
        ),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/_aws/execute-api/b/stage-of-b"),
    ],
)
def test_the_api_is_found_by_the_stage_in_every_partition(endpoint: str, url: str) -> None:
    gateway = Gateway(endpoint, a="aurora-refresh-acceptance-2", b="aurora-refresh-acceptance")
    session = session_of(gateway)
    assert find_api_url(session, "acceptance") == url
    with pytest.raises(ApiError, match="There is no API of stage 'test' in Region eu-west-1"):
        find_api_url(session, "test")


def test_a_stage_with_two_apis_is_ambiguous() -> None:
    name = "aurora-refresh-acceptance"
    with pytest.raises(ApiError, match=r"has several APIs: a, b\. Name one with --url\."):
        find_api_url(session_of(Gateway("https://x", a=name, b=name)), "acceptance")


class Http:
    """Stands in for botocore's HTTP session: answers, and keeps what it was asked."""

    answer = SimpleNamespace(status_code=200, headers={}, content=b'{"current": "x"}')

    def __call__(self, verify: object, *_: object) -> "Http":
        self.verify = verify
        return self

    def send(self, request: Any) -> Any:
        self.request = request
        return self.answer


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Http:
    http = Http()
    monkeypatch.setattr("cli.client.URLLib3Session", http)
    return http


def client(url: str = "https://a/api/") -> ApiClient:
    """A client with temporary credentials."""
    session = Session()
    session.set_credentials("AKIAX", "secret", "token")
    session.set_config_variable("region", "eu-west-1")
    return ApiClient(url, session)


def test_a_request_is_signed_with_temporary_credentials(http: Http) -> None:
    assert client().pin("a", database="rds", deploy=True) == {"current": "x"}
    assert (http.request.method, http.request.url) == ("PUT", "https://a/api/snapshots/current")
    assert json.loads(http.request.body) == {"snapshot": "a", "database": "rds", "deploy": True}
    assert http.request.headers["X-Amz-Security-Token"] == "token"
    signed = http.request.headers["Authorization"]
    assert "/eu-west-1/execute-api/aws4_request, SignedHeaders=" in signed


NO_JSON = (502, "NoJson", "https://a/api/hold did not answer with a JSON object.")


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (409, '{"Code": "ConflictError", "Message": "busy"}', (409, "ConflictError", "busy")),
        (403, '{"message": "expired"}', (403, "ExpiredTokenException", "expired")),
        (200, "<html>", NO_JSON),
        (200, '["a"]', NO_JSON),
    ],
)
def test_a_refusal_has_a_status_a_code_and_a_message(
    http: Http, status: int, body: str, refusal: tuple[int, str, str]
) -> None:
    """The code is the function's own, or stands in a header of API Gateway's."""
    headers = {"x-amzn-ErrorType": "ExpiredTokenException"}
    http.answer = SimpleNamespace(status_code=status, headers=headers, content=body.encode())
    with pytest.raises(ApiError) as raised:
        client().hold("2026-12-03")
    assert (raised.value.status, raised.value.code, raised.value.message) == refusal


def test_credentials_that_have_expired_are_no_missing_permission() -> None:
    error = ApiError(403, "ExpiredTokenException", "it is expired")
    assert error.next_step.startswith("Sign in, for example with aws sso login")


def test_who_the_caller_is_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_client(_: Session, service: str, config: Config) -> Any:
        once = config.connect_timeout + config.read_timeout
        assert once * config.retries["total_max_attempts"] == 30
        raise NoCredentialsError

    monkeypatch.setattr(Session, "create_client", create_client)
    with pytest.raises(ApiError, match="Unable to locate credentials"):
        client().identity()


def test_without_an_answer_there_is_no_status_but_a_next_step() -> None:
    with pytest.raises(ApiError) as raised:
        client("http://127.0.0.1:9").status()
    assert (raised.value.status, raised.value.code) == (None, "Unreachable")
    assert raised.value.next_step == "Check your network, VPN and proxy, then try again."


def test_a_profile_s_certificates_are_used_for_the_api_too(
    http: Http, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nca_bundle = company.pem\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    client().status()
    assert http.verify == "company.pem"


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("AWS_DEFAULT_REGION", "", "NoRegion"),
        ("AWS_DEFAULT_REGION", "eu west", "InvalidRegion"),
        ("AWS_ENDPOINT_URL", "foo", "Malformed"),
        ("AWS_SECRET_ACCESS_KEY", "\udcff", "Malformed"),
    ],
)
def test_a_malformed_variable_is_no_missing_credential(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv(variable, value)
    session = Session()
    with pytest.raises(ApiError) as raised:
        ApiClient(lambda: find_api_url(session, "acceptance"), session).status()
    assert raised.value.code == code
