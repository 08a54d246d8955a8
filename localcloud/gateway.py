"""API Gateway answers for the deployed APIs.

A stage can be called, at ``/_aws/execute-api/{api}/{stage}/…``, which it cannot with moto: who may call is
decided as *Control access to a REST API with IAM permissions* says (``signatures.py`` verifies the signature,
``authorization.py`` weighs the policies), the function gets the event of *Set up Lambda proxy integrations*,
in payload format 1.0, and its answer is mapped back.

Not here, as nothing in this project uses them: API keys, other authorizers (they let nobody in), resource
policies (so callers of other accounts are refused), integrations other than AWS_PROXY.
"""

import base64
import binascii
import json
import queue
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

from moto.apigateway.models import apigateway_backends
from moto.awslambda.exceptions import LambdaClientError, UnknownFunctionException
from moto.awslambda.models import LambdaFunction
from werkzeug.wrappers import Request, Response

from localcloud import authorization, functions, imports, signatures
from localcloud.authorization import Decision
from localcloud.environments import Outcome
from localcloud.identities import Caller, Refused
from localcloud.imports import Document

PREFIX = "/_aws/execute-api/"
_SERVICE = "apigateway.amazonaws.com"
_TIMEOUT_SECONDS = 29.0


@dataclass(frozen=True)
class _Route:
    """What a request's path and method have led to."""

    account: str
    region: str
    api_id: str
    stage: str
    document: Document
    resource_path: str
    path: str
    parameters: dict[str, str]
    operation: Document

    def arn(self, method: str, path: str, account: str) -> str:
        """The method's ARN as IAM policies name it."""
        return (
            f"arn:aws:execute-api:{self.region}:{account}:{self.api_id}/{self.stage}/{method}{path}"
        )


class ExecuteApi:
    """WSGI middleware: the endpoint of the deployed APIs."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith(PREFIX):
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        request = Request(environ)
        try:
            response = _respond(request)
        except Refused as refusal:
            # API Gateway spells the key differently where the identity is valid but has no permission.
            key = "Message" if refusal.code == "AccessDeniedException" else "message"
            response = _message(403, refusal.code, key, str(refusal))
        except authorization.NotRestored as gap:
            response = _error(500, str(gap))
        return response(environ, start_response)


def _respond(request: Request) -> Response:
    body = request.get_data()
    route = _find_route(request)
    caller = None
    kind = imports.authorization_of(route.document, route.operation)
    if kind == "AWS_IAM":
        caller = signatures.verify(request, body, "execute-api", route.region)
        _authorize(caller, route, request.method)
    elif kind == "OTHER":
        return _message(401, "UnauthorizedException", "message", "Unauthorized")
    function = _function(route, request.method)
    if function is None:
        return _error(500, "Internal server error")
    event = _event(request, body, route, caller)
    try:
        outcome = _invoke(function, json.dumps(event).encode())
    except (functions.Throttled, LambdaClientError):
        return _error(500, "Internal server error")
    except TimeoutError:
        return _error(504, "Endpoint request timed out")
    return _mapped(outcome, request, route)


def _find_route(request: Request) -> _Route:
    # As received, so that an encoded slash does not part what it is in.
    received = request.environ["REQUEST_URI"].partition("?")[0].removeprefix(PREFIX)
    api_id, _, rest = received.partition("/")
    stage_name, _, rest = rest.partition("/")
    # A path with one trailing slash is taken for the one without, by who may call as well as by what is called.
    parts = [unquote(part) for part in rest.removesuffix("/").split("/")] if rest.strip("/") else []
    for account, regions in list(apigateway_backends.items()):
        for region, backend in list(regions.items()):
            api = backend.apis.get(api_id)
            document = imports.document_of(api and api.stages.get(stage_name))
            if document is None:
                continue
            for resource_path, parameters in _matches(document, parts):
                operations = document["paths"][resource_path]
                anyway = operations.get(imports.key_of_method("ANY"))
                operation = operations.get(imports.key_of_method(request.method), anyway)
                if operation is not None:
                    return _Route(
                        *(account, region, api_id, stage_name, document),
                        *(resource_path, "/" + "/".join(parts), parameters, operation),
                    )
    # "Missing Authentication Token" is how API Gateway says that there is no such method.
    raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")


def _matches(document: Document, parts: list[str]) -> list[tuple[str, dict[str, str]]]:
    """The resources that the path may mean, with its parameters; the most precise one first."""
    found = []
    for resource_path in document["paths"]:
        match = _match([part for part in resource_path.split("/") if part], parts)
        if match is not None:
            vagueness, parameters = match
            found.append((vagueness, resource_path, parameters))
    return [(path, parameters) for _, path, parameters in sorted(found, key=itemgetter(0))]


def _match(segments: list[str], parts: list[str]) -> tuple[list[int], dict[str, str]] | None:
    """How vague each segment is (0 fixed, 1 a parameter, 2 a greedy one), and the parameters.

    An empty part is part of no resource's path.
    """
    if "" in parts:
        return None
    if segments and segments[-1].endswith("+}") and len(parts) >= len(segments):
        last = len(segments) - 1
        parts = [*parts[:last], "/".join(parts[last:])]
    if len(parts) != len(segments):
        return None
    vagueness, parameters = [], {}
    for segment, part in zip(segments, parts, strict=True):
        if segment.startswith("{"):
            vagueness.append(2 if segment.endswith("+}") else 1)
            parameters[segment.strip("{+}")] = part
        elif segment == part:
            vagueness.append(0)
        else:
            return None
    return vagueness, parameters


def _authorize(caller: Caller, route: _Route, method: str) -> None:
    """``execute-api:Invoke`` on the method, by the caller's own policies; nobody of another account."""
    arn = route.arn(method, route.path, route.account)
    context = authorization.context_of(caller, route.region, arn)
    decision = authorization.decide(caller.policies, "execute-api:Invoke", arn, context)
    if decision is Decision.ALLOWED and caller.account == route.account:
        return
    because = " with an explicit deny" if decision is Decision.EXPLICIT_DENY else ""
    # API Gateway shows the last four digits of the account only.
    shown = route.arn(method, route.path, f"{'*' * 8}{route.account[-4:]}")
    raise Refused(
        "AccessDeniedException",
        f"User: {caller.arn} is not authorized to perform: execute-api:Invoke on resource: {shown}"
        f"{because}",
    )


def _function(route: _Route, method: str) -> LambdaFunction | None:
    """The integration's function, if the API may invoke it."""
    integration = route.operation["x-amazon-apigateway-integration"]
    if integration["type"].lower() != "aws_proxy":
        return None
    arn = integration["uri"].partition("/functions/")[2].removesuffix("/invocations")
    try:
        function = functions.find(arn.split(":")[4], route.region, arn)
    except UnknownFunctionException:
        return None
    source = route.arn(method, route.resource_path, route.account)
    return function if functions.may_invoke(function, _SERVICE, source) else None


def _invoke(function: LambdaFunction, event: bytes) -> Outcome:
    """Invoke, but wait no longer than API Gateway does; the function is not told."""
    results: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(functions.fleet().invoke(function, event, str(uuid.uuid4())))
        except Exception as error:  # noqa: BLE001 (raised again by who waits)
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=_TIMEOUT_SECONDS)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def _event(request: Request, body: bytes, route: _Route, caller: Caller | None) -> dict[str, Any]:
    """The proxy integration's event, payload format 1.0."""
    now = datetime.now(UTC)
    request_id = str(uuid.uuid4())
    binary = _is_binary(route, request.headers.get("Content-Type", ""))
    text = base64.b64encode(body).decode() if binary else body.decode(errors="replace")
    query = request.args.to_dict(flat=False)
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    headers["X-Forwarded-For"] = [request.remote_addr or ""]
    headers["X-Forwarded-Port"] = ["443"]
    headers["X-Forwarded-Proto"] = ["https"]
    return {
        "resource": route.resource_path,
        "path": route.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": route.parameters or None,
        "stageVariables": None,
        "requestContext": {
            "accountId": route.account,
            "apiId": route.api_id,
            "domainName": request.host,
            "domainPrefix": route.api_id,
            "extendedRequestId": request_id,
            "httpMethod": request.method,
            "identity": {
                "accessKey": caller and caller.access_key_id,
                "accountId": caller and caller.account,
                "caller": caller and caller.user_id,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "sourceIp": request.remote_addr,
                "user": caller and caller.user_id,
                "userAgent": request.headers.get("User-Agent"),
                "userArn": caller and caller.arn,
            },
            "path": f"/{route.stage}{route.path}",
            "protocol": "HTTP/1.1",
            "requestId": request_id,
            "requestTime": f"{now:%d/%b/%Y:%H:%M:%S +0000}",
            "requestTimeEpoch": int(time.time() * 1000),
            "resourceId": "local",
            "resourcePath": route.resource_path,
            "stage": route.stage,
        },
        "body": text or None,
        "isBase64Encoded": bool(binary and body),
    }


def _mapped(outcome: Outcome, request: Request, route: _Route) -> Response:
    """The function's answer as HTTP: *Output format of a Lambda function for proxy integration*."""
    malformed = _error(502, "Internal server error")
    if not outcome.succeeded:
        return malformed
    answer = json.loads(outcome.payload)
    if not isinstance(answer, dict):
        return malformed
    body = answer.get("body")
    status = str(answer.get("statusCode", 200))
    if not status.isdigit() or not isinstance(body, str | None):
        return malformed
    content = (body or "").encode()
    if answer.get("isBase64Encoded") and _is_binary(route, request.headers.get("Accept", "")):
        try:
            content = base64.b64decode(content, validate=True)
        except binascii.Error:
            return malformed
    response = Response(content, status=int(status), content_type="application/json")
    for name, value in (answer.get("headers") or {}).items():
        response.headers[name] = str(value)
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        response.headers.setlist(name, [str(value) for value in values])
    return response


def _is_binary(route: _Route, media: str) -> bool:
    """Whether a content type, or the first one accepted, is among the API's binary media types."""
    media = media.partition(",")[0].partition(";")[0].strip()
    kinds = route.document.get("x-amazon-apigateway-binary-media-types", [])
    return bool(media) and (media in kinds or "*/*" in kinds)


def _error(status: int, text: str) -> Response:
    return _message(status, "InternalServerErrorException", "message", text)


def _message(status: int, code: str, key: str, text: str) -> Response:
    return Response(
        json.dumps({key: text}),
        status=status,
        content_type="application/json",
        headers={"x-amzn-ErrorType": code},
    )
