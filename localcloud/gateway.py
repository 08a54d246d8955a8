"""API Gateway answers for the deployed APIs.

A stage can be called, at ``/_aws/execute-api/{api}/{stage}/…``, which it cannot with moto: who may call is
decided as *Control access to a REST API with IAM permissions* says (``signatures.py`` verifies the signature,
``authorization.py`` weighs the policies), the function gets the event of *Set up Lambda proxy integrations*,
in payload format 1.0, and its answer is mapped back.

Not here, as nothing in this project uses them: API keys, other authorizers, resource policies (so callers of other
accounts are refused), integrations other than AWS_PROXY, binary bodies, the time-out of 29 seconds.
"""

import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from moto.apigateway.models import apigateway_backends
from moto.awslambda.exceptions import LambdaClientError
from werkzeug.wrappers import Request, Response

from localcloud import authorization, functions, imports, signatures
from localcloud.authorization import Decision
from localcloud.environments import Outcome
from localcloud.identities import Caller, Refused
from localcloud.imports import Document

PREFIX = "/_aws/execute-api/"
_SERVICE = "apigateway.amazonaws.com"


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
        try:
            response = _respond(Request(environ))
        except Refused as refusal:
            # API Gateway spells the key differently where the identity is valid but has no permission.
            key = "Message" if refusal.code == "AccessDeniedException" else "message"
            response = _message(403, refusal.code, key, str(refusal))
        except (functions.Throttled, LambdaClientError, authorization.NotRestored) as error:
            response = _failure(500, str(error) or "Internal server error")
        return response(environ, start_response)


def _respond(request: Request) -> Response:
    body = request.get_data()
    route = _find_route(request)
    caller = None
    if imports.is_signed(route.document, route.operation):
        caller = signatures.verify(request, body, "execute-api", route.region)
        _authorize(caller, route, request.method)
    uri = route.operation["x-amazon-apigateway-integration"]["uri"]
    arn = uri.partition("/functions/")[2].removesuffix("/invocations")
    function = functions.find(route.account, route.region, arn)
    source = route.arn(request.method, route.resource_path, route.account)
    if not functions.may_invoke(function, _SERVICE, source):
        return _failure(500, "Internal server error")
    event = json.dumps(_event(request, body, route, caller)).encode()
    return _mapped(functions.fleet().invoke(function, event, str(uuid.uuid4())))


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
            for resource_path, operations in document["paths"].items():
                parameters = _match([each for each in resource_path.split("/") if each], parts)
                operation = operations.get(request.method.lower())
                if parameters is not None and operation is not None:
                    return _Route(
                        *(account, region, api_id, stage_name, document),
                        *(resource_path, "/" + "/".join(parts), parameters, operation),
                    )
    # "Missing Authentication Token" is how API Gateway says that there is no such method.
    raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")


def _match(segments: list[str], parts: list[str]) -> dict[str, str] | None:
    """The path's parameters if it is the resource's; an empty part is part of no resource's path."""
    if len(parts) != len(segments) or "" in parts:
        return None
    pairs = list(zip(segments, parts, strict=True))
    if any(segment != part for segment, part in pairs if not segment.startswith("{")):
        return None
    return {segment.strip("{}"): part for segment, part in pairs if segment.startswith("{")}


def _authorize(caller: Caller, route: _Route, method: str) -> None:
    """``execute-api:Invoke`` on the method, by the caller's own policies; nobody of another account."""
    arn = route.arn(method, route.path, route.account)
    context = authorization.context_of(caller, route.region, arn)
    decision = authorization.decide(caller.policies, "execute-api:Invoke", arn, context)
    if decision is Decision.ALLOWED and caller.account == route.account:
        return
    # API Gateway shows the last four digits of the account only.
    shown = route.arn(method, route.path, f"{'*' * 8}{route.account[-4:]}")
    raise Refused(
        "AccessDeniedException",
        f"User: {caller.arn} is not authorized to perform: execute-api:Invoke on resource: {shown}",
    )


def _event(request: Request, body: bytes, route: _Route, caller: Caller | None) -> dict[str, Any]:
    """The proxy integration's event, payload format 1.0."""
    query = request.args.to_dict(flat=False)
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
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
            "httpMethod": request.method,
            "identity": {
                "accessKey": caller and caller.access_key_id,
                "accountId": caller and caller.account,
                "caller": caller and caller.user_id,
                "sourceIp": request.remote_addr,
                "user": caller and caller.user_id,
                "userAgent": request.headers.get("User-Agent"),
                "userArn": caller and caller.arn,
            },
            "path": f"/{route.stage}{route.path}",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "requestTimeEpoch": int(time.time() * 1000),
            "resourcePath": route.resource_path,
            "stage": route.stage,
        },
        "body": body.decode(errors="replace") or None,
        "isBase64Encoded": False,
    }


def _mapped(outcome: Outcome) -> Response:
    """The function's answer as HTTP: *Output format of a Lambda function for proxy integration*."""
    answer = json.loads(outcome.payload)
    if not outcome.succeeded or not isinstance(answer, dict):
        return _failure(502, "Internal server error")
    status = int(answer.get("statusCode", 200))
    response = Response(answer.get("body") or "", status, content_type="application/json")
    for name, value in (answer.get("headers") or {}).items():
        response.headers[name] = str(value)
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        response.headers.setlist(name, [str(value) for value in values])
    return response


def _failure(status: int, text: str) -> Response:
    return _message(status, "InternalServerErrorException", "message", text)


def _message(status: int, code: str, key: str, text: str) -> Response:
    return Response(
        json.dumps({key: text}),
        status=status,
        content_type="application/json",
        headers={"x-amzn-ErrorType": code},
    )
