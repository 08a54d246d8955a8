"""The client of the deployed API: how it finds, signs, and reads refusals."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import MagicMock, Mock, patch

import pytest
from botocore.exceptions import NoCredentialsError
from botocore.httpsession import URLLib3Session
from botocore.paginate import PageIterator
from botocore.session import Session

from cli.client import ApiClient, find_api_url
from cli.errors import ApiError

STAGES = {"a": "acceptance-2", "b": "acceptance", "d": "twice", "c": "twice", "e": "renamed"}


def session_of(endpoint: str) -> Any:
    """Of an account in which each API leads to a function, and one is deleted meanwhile."""

    def get_rest_apis() -> Iterator[Any]:
        yield {"items": [{"id": "b", "name": "their own, of the same function", "createdDate": 0}]}
        for day, api in enumerate([*STAGES, "deleted"]):  # a page each
            yield {"items": [{"id": api, "name": "aurora-refresh", "createdDate": -day}]}

    def get_resources(embed: list[str], **api: str) -> Iterator[Any]:
        assert embed == ["methods"]
        stage = STAGES[api["restApiId"]]
        uri = f"arn:aws:apigateway:…:function:aurora-refresh-{stage}/invocations"
        yield {"items": [{}, {"resourceMethods": {"GET": {"methodIntegration": {"uri": uri}}}}]}

    def get_stages(**api: str) -> Any:
        names = ["Stage", f"stage-of-{api['restApiId']}", *["old"] * (api["restApiId"] == "e")]
        return {"item": [{"stageName": each} for each in names]}

    pages = {"get_rest_apis": get_rest_apis, "get_resources": get_resources}

    def paginate(operation: str, **named: Any) -> Any:
        return Mock(search=partial(PageIterator.search, pages[operation](**named)))

    gateway = Mock(
        meta=Mock(endpoint_url=endpoint, region_name="eu-west-1"),
        exceptions=Mock(NotFoundException=KeyError),
        get_paginator=lambda operation: Mock(paginate=partial(paginate, operation)),
        get_stages=get_stages,
    )
    return Mock(create_client=lambda _, config: gateway)


def test_the_api_of_a_stage_is_found_in_every_partition_if_there_is_exactly_one() -> None:
    def found(service: str, domain: str) -> str:
        return find_api_url(session_of(f"https://{service}.{domain}"), "acceptance")

    china = "https://b.execute-api.cn-north-1.amazonaws.com.cn/stage-of-b"
    assert found("apigateway", "cn-north-1.amazonaws.com.cn") == china
    government = "https://b.execute-api.us-gov-west-1.amazonaws.com/stage-of-b"
    assert found("apigateway-fips", "us-gov-west-1.amazonaws.com") == government
    with pytest.raises(ApiError, match=r"Stage 'test' has no API in Region eu-west-1\."):
        find_api_url(session_of(""), "test")
    with pytest.raises(ApiError, match=r"'twice' has several APIs: c, d\. Name one with --url\."):
        find_api_url(session_of(""), "twice")
    with pytest.raises(ApiError, match="'renamed' has several stages: stage-of-e, old"):
        find_api_url(session_of(""), "renamed")


def client(**variables: str) -> ApiClient:
    """A client whose session has some of botocore's variables."""
    session = Session()
    session.set_credentials("AKIAX", "secret")
    for name, value in ({"region": "eu-west-1"} | variables).items():
        session.set_config_variable(name, value)
    with patch("cli.client.Session", return_value=session):
        return ApiClient("acceptance", "https://a/api/")


def test_a_signed_request_uses_a_profile_s_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    http = Mock()
    http.return_value.send.return_value = Mock(status_code=200, content=b'{"version": 5}')
    monkeypatch.setattr("cli.client.URLLib3Session", http)
    asked = {"snapshot": "a", "database": "rds", "deploy": True}
    assert client(ca_bundle="company.pem").pin(**asked, reason=None) == {"version": 5}
    (request,) = http.return_value.send.call_args.args
    assert (request.method, request.url) == ("PUT", "https://a/api/snapshots/current")
    assert json.loads(request.body) == asked
    assert "/eu-west-1/execute-api/aws4_request" in request.headers["Authorization"]
    assert http.call_args.args[0] == "company.pem"
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "proxy.pem")
    client().history(database="a b")  # which is signed as it is sent
    (request,) = http.return_value.send.call_args.args
    assert request.url.endswith("?database=a%20b")
    assert http.call_args.args[0] == "proxy.pem"


def test_a_refusal_has_a_status_a_code_and_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is the function's own, or stands in a header of API Gateway's."""

    def refusal(status: int, body: bytes) -> tuple[int | None, str, str]:
        headers = {"x-amzn-ErrorType": "ExpiredTokenException"}
        response = Mock(status_code=status, headers=headers, content=body)
        monkeypatch.setattr(URLLib3Session, "send", lambda *_: response)
        with pytest.raises(ApiError) as raised:
            client().hold(until="2026-12-03")
        return raised.value.status, raised.value.code, raised.value.message

    conflict = b'{"Code": "ConflictError", "Message": "busy"}'
    assert refusal(409, conflict) == (409, "ConflictError", "busy")
    assert refusal(403, b'{"message": "expired"}') == (403, "ExpiredTokenException", "expired")
    no_json = "https://a/api/hold answered with status {} and no JSON object."
    assert refusal(200, b"<html>") == refusal(200, b'["a"]') == (502, "NoJson", no_json.format(200))
    assert refusal(503, b"<html>") == (503, "Error", no_json.format(503))
    monkeypatch.setattr(URLLib3Session, "send", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(ApiError, match="Stopped, but the request had been sent") as raised:
        client().rollback()
    assert "it may have been made" in raised.value.next_step


def test_the_identity_request_times_out_early_and_is_repeated_after_a_new_session() -> None:
    session, renewed = MagicMock(), MagicMock()
    with patch("cli.client.Session", side_effect=[session, renewed]):
        client = ApiClient("acceptance")
        session.create_client.side_effect = NoCredentialsError
        assert client.identity() is client.identity() is None
        client.begin_session()
    client.identity()
    assert session.create_client.call_count == renewed.create_client.call_count == 1
    config = session.create_client.call_args.kwargs["config"]
    once = config.connect_timeout + config.read_timeout
    assert once * config.retries["total_max_attempts"] == 30


def test_without_an_answer_there_is_no_status_and_a_malformed_variable_is_no_missing_credential(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def code(variable: str, value: str) -> str:
        given = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "eu-west-1"}
        for name, each in (given | {variable: value}).items():
            monkeypatch.setenv(f"AWS_{name}", each)
        with pytest.raises(ApiError) as raised:
            ApiClient("acceptance").status()
        assert raised.value.status is None
        return raised.value.code

    assert code("ENDPOINT_URL", "http://127.0.0.1:9") == "Unreachable"
    assert code("DEFAULT_REGION", "") == "NoRegion"
    assert code("DEFAULT_REGION", "eu west") == "InvalidRegion"
    assert code("SECRET_ACCESS_KEY", "") == "PartialCredentials"
    assert code("SECRET_ACCESS_KEY", "\udcff") == code("ENDPOINT_URL", "foo") == "Malformed"
