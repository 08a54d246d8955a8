"""The client of the deployed API: how it finds, signs, and reads refusals."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from botocore.session import Session

from cli.client import ApiClient, ApiError, find_api_url

APIS = {
    "a": "aurora-refresh-acceptance-2",
    "b": "aurora-refresh-acceptance",
    "others": "aurora-refresh-acceptance",
    "d": "aurora-refresh-twice",
    "c": "aurora-refresh-twice",
}


def session_of(endpoint: str) -> Any:
    """Of an account in which each API leads to a function, and one is deleted meanwhile."""

    def get_rest_apis() -> Iterator[Any]:
        for day, api in enumerate([*APIS, "deleted"]):  # a page each
            name = "other" if api == "others" else "aurora-refresh"
            yield {"items": [{"id": api, "name": name, "createdDate": -day}]}

    def get_resources(restApiId: str, embed: list[str]) -> Iterator[Any]:  # noqa: N803
        assert embed == ["methods"]
        uri = f"arn:aws:apigateway:…:function:{APIS[restApiId]}/invocations"
        yield {"items": [{}, {"resourceMethods": {"GET": {"methodIntegration": {"uri": uri}}}}]}

    def get_stages(restApiId: str) -> Any:  # noqa: N803
        return {"item": [{"stageName": f"stage-of-{restApiId}"}]}

    pages = {"get_rest_apis": get_rest_apis, "get_resources": get_resources}
    gateway = SimpleNamespace(
        meta=SimpleNamespace(endpoint_url=endpoint, region_name="eu-west-1"),
        exceptions=SimpleNamespace(NotFoundException=KeyError),
        get_paginator=lambda operation: SimpleNamespace(paginate=pages[operation]),
        get_stages=get_stages,
    )
    return SimpleNamespace(create_client=lambda _, config: gateway)


AWS = "https://apigateway"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (f"{AWS}.cn-north-1.amazonaws.com.cn", "https://b.execute-api.cn-north-1.amazonaws.com.cn"),
        (
            f"{AWS}-fips.us-gov-east-1.amazonaws.com",
            "https://b.execute-api.us-gov-east-1.amazonaws.com",
        ),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/_aws/execute-api/b"),
    ],
)
def test_the_api_is_found_by_the_stage_in_every_partition(endpoint: str, url: str) -> None:
    assert find_api_url(session_of(endpoint), "acceptance") == f"{url}/stage-of-b"


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("test", "There is no API of stage 'test' in Region eu-west-1."),
        ("twice", "Stage 'twice' has several APIs: c, d. Name one with --url."),
    ],
)
def test_a_stage_without_an_api_or_with_several_is_an_error(stage: str, message: str) -> None:
    with pytest.raises(ApiError, match=re.escape(message)):
        find_api_url(session_of(AWS), stage)


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Botocore's HTTP session, which answers."""
    http = Mock()
    http.return_value.send.return_value = SimpleNamespace(
        status_code=200, headers={}, content=b"{}"
    )
    monkeypatch.setattr("cli.client.URLLib3Session", http)
    return http


def client(url: str = "https://a/api/") -> ApiClient:
    """A client with temporary credentials."""
    session = Session()
    session.set_credentials("AKIAX", "secret", "token")
    session.set_config_variable("region", "eu-west-1")
    return ApiClient(url, session)


def test_a_request_is_signed_and_a_profile_s_certificates_are_used(
    http: Mock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nca_bundle = company.pem\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    assert client().pin("a", database="rds", deploy=True) == {}
    (request,) = http.return_value.send.call_args.args
    assert (request.method, request.url) == ("PUT", "https://a/api/snapshots/current")
    assert json.loads(request.body) == {"snapshot": "a", "database": "rds", "deploy": True}
    assert request.headers["X-Amz-Security-Token"] == "token"
    signed = request.headers["Authorization"]
    assert "/eu-west-1/execute-api/aws4_request, SignedHeaders=" in signed
    assert http.call_args.args[0] == "company.pem"


NO_JSON = (502, "NoJson", "https://a/api/hold did not answer with a JSON object.")


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (409, b'{"Code": "ConflictError", "Message": "busy"}', (409, "ConflictError", "busy")),
        (403, b'{"message": "expired"}', (403, "ExpiredTokenException", "expired")),
        (200, b"<html>", NO_JSON),
        (200, b'["a"]', NO_JSON),
    ],
)
def test_a_refusal_has_a_status_a_code_and_a_message(
    http: Mock, status: int, body: bytes, refusal: tuple[int, str, str]
) -> None:
    """The code is the function's own, or stands in a header of API Gateway's."""
    headers = {"x-amzn-ErrorType": "ExpiredTokenException"}
    http.return_value.send.return_value = SimpleNamespace(
        status_code=status, headers=headers, content=body
    )
    with pytest.raises(ApiError) as raised:
        client().hold("2026-12-03")
    assert (raised.value.status, raised.value.code, raised.value.message) == refusal


def test_who_the_caller_is_is_not_waited_for_long() -> None:
    session = MagicMock()
    ApiClient("https://a", session).identity()
    config = session.create_client.call_args.kwargs["config"]
    once = config.connect_timeout + config.read_timeout
    assert once * config.retries["total_max_attempts"] == 30


def test_without_an_answer_there_is_no_status_but_a_next_step() -> None:
    with pytest.raises(ApiError) as raised:
        client("http://127.0.0.1:9").status()
    assert (raised.value.status, raised.value.code) == (None, "Unreachable")
    assert raised.value.next_step == "Check your network, VPN and proxy, then try again."


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("AWS_DEFAULT_REGION", "", "NoRegion"),
        ("AWS_DEFAULT_REGION", "eu west", "InvalidRegion"),
        ("AWS_ENDPOINT_URL", "foo", "Malformed"),
        ("AWS_SECRET_ACCESS_KEY", "", "PartialCredentials"),
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
