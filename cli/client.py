"""A client of the deployed API, which signs with whatever credentials botocore finds.

Importing boto3 as well would take half as long as the whole answer.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partialmethod
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from botocore import exceptions
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

from chalicelib.domain.functions import API, APP, deployed_name
from chalicelib.domain.results import Json
from cli.errors import ApiError, translated_errors

_TIMEOUT: Any = (5, 35)  # seconds to connect and to read: API Gateway gives up after 29
# With botocore's defaults, a person would wait five minutes for a service that cannot be reached.
_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
_CURRENT = "/snapshots/current"
_Route = partialmethod[Json]


class ApiClient:
    """Calls the API of one stage; every method raises ApiError.

    The API is found by the stage's name when it is first needed, unless its address is given.
    """

    def __init__(self, stage: str | None, url: str | None = None) -> None:
        self.name, self.stage = str(url or stage), None if url else stage
        self._given_url = url
        self.begin_session()

    def begin_session(self) -> None:
        """Read profile and credentials anew, which a session keeps, and look the API up again."""
        with _calling():
            self._session = Session()
            self._url = self._given_url
            self._identity: Json | None = None
            self._next_identity = 0.0  # when STS is asked again
            self.region: str | None = self._session.get_config_variable("region")

    def identity(self) -> Json | None:
        """Return the caller's Account and Arn, as STS names them; None if it does not."""
        if self._identity is None and monotonic() >= self._next_identity:
            self._next_identity = monotonic() + 60  # not every page waits for STS
            with suppress(ApiError, KeyError), _calling():
                sts: Any = self._session.create_client("sts", config=_CONFIG)
                self._identity = dict(sts.get_caller_identity())
        return self._identity

    def _call(self, method: str, path: str, **given: Any) -> Json:
        """Call a route; what is given is its query or body, without what is None."""
        if not self.region:
            raise ApiError(None, "NoRegion", str(exceptions.NoRegionError()))
        self._url = self._url or find_api_url(self._session, self.name)
        url = self._url.rstrip("/") + path
        sent = {name: value for name, value in given.items() if value is not None}
        if method in ("PUT", "POST"):
            headers = {"Content-Type": "application/json"}
            request = AWSRequest(method, url, headers, json.dumps(sent).encode())
        else:
            # With AWSRequest's own params, a space would be signed otherwise than it is sent.
            query = f"?{urlencode(sent, quote_via=quote)}" if sent else ""
            request = AWSRequest(method, url + query)
        with _calling():
            SigV4Auth(self._credentials(), "execute-api", self.region).add_auth(request)
            bundle = self._session.get_config_variable("ca_bundle")
            # As botocore's own clients.
            verify: Any = bundle or os.environ.get("REQUESTS_CA_BUNDLE") or True
            http = URLLib3Session(verify, get_environ_proxies(url), _TIMEOUT)
            try:
                response = http.send(request.prepare())
            except KeyboardInterrupt as error:
                stopped = "Stopped, but the request had been sent."
                raise ApiError(None, "Interrupted", stopped) from error
        try:
            answer: Json | None = json.loads(response.content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            answered = f"answered with status {response.status_code} and no JSON object"
            # A status from 429 on has a next step of its own.
            code = "NoJson" if response.status_code < 429 else "Error"
            answer = {"Code": code, "Message": f"{url} {answered}."}
        if response.status_code == 200 and "Code" not in answer:
            return answer
        code = answer.get("Code") or response.headers.get("x-amzn-ErrorType") or "Error"
        message = answer.get("Message") or answer.get("message") or "no reason was given"
        status = 502 if response.status_code == 200 else response.status_code
        raise ApiError(status, str(code), str(message))

    def _credentials(self) -> ReadOnlyCredentials:
        """Return what to sign with; raise BotoCoreError."""
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                raise exceptions.NoCredentialsError
            return credentials.get_frozen_credentials()
        except ValueError as error:  # what a credential_process prints may be no JSON
            raise exceptions.CredentialRetrievalError(
                provider="the profile", error_msg=error
            ) from error

    # The routes and what each is given: docs/openapi.yaml describes them.
    status = _Route(_call, "GET", "/status")
    history = _Route(_call, "GET", f"{_CURRENT}/history")
    snapshots = _Route(_call, "GET", "/snapshots")
    pin = _Route(_call, "PUT", _CURRENT)
    rollback = _Route(_call, "POST", f"{_CURRENT}/rollback")
    refresh = _Route(_call, "POST", "/refresh")
    hold = _Route(_call, "PUT", "/hold")
    resume = _Route(_call, "DELETE", "/hold")


def find_api_url(session: Session, stage: str) -> str:
    """Return the address of the REST API that invokes a stage's function; raise ApiError."""
    with _calling():
        client: Any = session.create_client("apigateway", config=_CONFIG)
        found = apis_invoking(client, stage)
    if not found:
        region = client.meta.region_name
        message = f"Stage {stage!r} has no API in Region {region}."
        raise ApiError(404, "StageNotFound", message)
    if len(found) > 1:
        message = f"Stage {stage!r} has several APIs: {', '.join(found)}. Name one with --url."
        raise ApiError(409, "AmbiguousStage", message)
    with _calling():
        # Its own stage is named by api_gateway_stage in Chalice's configuration.
        stages = client.get_stages(restApiId=found[0]).get("item", [])
    names = [each["stageName"] for each in stages]
    # SAM makes another one, named Stage.
    paths = [each for each in names if each != "Stage"] or names
    if len(paths) > 1:
        message = f"The API of stage {stage!r} has several stages: {', '.join(paths)}. Name one with --url."
        raise ApiError(409, "AmbiguousStage", message)
    path = paths[0] if paths else "api"
    endpoint = client.meta.endpoint_url
    service, _, domain = urlsplit(endpoint).netloc.partition(".")
    if service not in ("apigateway", "apigateway-fips"):
        # An emulator of AWS, which AWS_ENDPOINT_URL names.
        return f"{endpoint}/_aws/execute-api/{found[0]}/{path}"
    return f"https://{found[0]}.execute-api.{domain}/{path}"


def apis_invoking(client: Any, stage: str) -> list[str]:
    """Return the ids of the REST APIs that invoke the stage's function, by creation time and id.

    https://docs.aws.amazon.com/apigateway/latest/api/API_GetResources.html
    """
    function = f":function:{deployed_name(stage, API)}/invocations"
    apis = client.get_paginator("get_rest_apis").paginate()
    found = apis.search(f"items[?name == '{APP}'].[createdDate, id]")
    named = sorted(filter(None, found))  # a proxy's answer may have no items
    return [api for _, api in named if _invokes(client, api, function)]


def _invokes(client: Any, api: str, function: str) -> bool:
    pages = client.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"])
    try:
        uris = pages.search("items[].resourceMethods.*[].methodIntegration.uri")
        return any(uri.endswith(function) for uri in uris)
    except client.exceptions.NotFoundException:
        return False  # deleted since it was listed


@contextmanager
def _calling() -> Iterator[None]:
    """Raise a failed call, or one that cannot be made, as ApiError."""
    try:
        with translated_errors():
            yield
    except ValueError as error:  # such as an invalid address, or text that is not UTF-8
        raise ApiError(None, "Malformed", str(error)) from error
