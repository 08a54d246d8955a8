"""API Gateway: import the API that Chalice sends, and serve it.

ImportRestApi and PutRestApi accept Swagger 2.0 (*Import a REST API into API Gateway*), which moto refuses. A
stage is called at ``/_aws/execute-api/{api}/{stage}/…``. Callers are authorized as *Control access to a REST
API with IAM permissions* says, and the function gets the event of *Set up Lambda proxy integrations*. Missing,
because this project uses none: path parameters, other authorizers, resource policies (so callers of other
accounts are refused), other integrations and binary bodies.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from moto.apigateway.models import Method, RestAPI, apigateway_backends
from moto.apigateway.responses import APIGatewayResponse
from moto.apigateway.utils import deserialize_body
from moto.awslambda.exceptions import UnknownFunctionException
from moto.core.common_types import TYPE_RESPONSE
from werkzeug.wrappers import Request, Response

from localcloud import functions, signatures
from localcloud.environments import Outcome
from localcloud.identities import Caller, Refused
from localcloud.policies import Decision, NotRestored, decide

PREFIX = "/_aws/execute-api/"
Document = dict[str, Any]
_INTERNAL = {"message": "Internal server error"}


class SwaggerResponse(APIGatewayResponse):
    """moto's API Gateway with Swagger 2.0."""

    def import_rest_api(self) -> TYPE_RESPONSE:
        """*ImportRestApi*."""
        title = deserialize_body(self.body)["info"]["title"]
        api = self.backend.create_rest_api(title, "")
        return 201, {"status": 201}, self._put(api)

    def put_rest_api(self) -> TYPE_RESPONSE:
        """*PutRestApi*."""
        return 200, {}, self._put(self.backend.get_rest_api(self.path.split("/")[2]))

    def _put(self, api: RestAPI) -> str:
        document = deserialize_body(self.body)
        # moto reads only paths and integrations, which are the same in Swagger 2.0 and OpenAPI 3.
        as_openapi = {name: value for name, value in document.items() if name != "swagger"}
        self.backend.put_rest_api(api.id, as_openapi, fail_on_warnings=False, mode="overwrite")
        for resource in api.resources.values():
            operations = document["paths"].get(resource.get_path(), {})
            for method in resource.resource_methods.values():
                is_signed = _is_signed(document, operations[method.http_method.lower()])
                method.authorization_type = "AWS_IAM" if is_signed else "NONE"
        return json.dumps(api.to_dict())


def _is_signed(document: Document, operation: Document) -> bool:
    """Return whether the ``security`` of an operation requires signed requests."""
    schemes = document.get("securityDefinitions", {})
    names = [name for each in operation.get("security", []) for name in each]
    return "awsSigv4" in [schemes[name].get("x-amazon-apigateway-authtype") for name in names]


@dataclass(frozen=True)
class _Target:
    """The method of an API's stage that a request calls."""

    api: RestAPI
    stage: str
    path: str
    method: Method

    @property
    def arn(self) -> str:
        """The method's ARN, as in IAM policies."""
        api, name = self.api, self.method.http_method
        where = f"arn:aws:execute-api:{api.region_name}:{api.account_id}:{api.id}"
        return f"{where}/{self.stage}/{name}{self.path}"


def respond(request: Request) -> Response:
    """Answer a request to a deployed API."""
    try:
        target = _find(request)
        caller = None
        if target.method.authorization_type != "NONE":
            caller = signatures.verify(request, "execute-api", target.api.region_name)
            _authorize(caller, target)
        return _invoke(target, _event(request, target, caller))
    except Refused as refusal:
        # API Gateway writes this key in another case if the identity is valid but has no permission.
        key = "Message" if refusal.code == "AccessDeniedException" else "message"
        return _error(403, {key: str(refusal)}, {"x-amzn-ErrorType": refusal.code})
    except NotRestored as gap:
        return _error(500, {"message": str(gap)})
    except (functions.Throttled, UnknownFunctionException):
        return _error(500, _INTERNAL)


def _invoke(target: _Target, event: dict[str, Any]) -> Response:
    """Invoke the method's function, if its policy allows it.

    *Handling errors with an API Gateway API*, Lambda Developer Guide: a refusal by Lambda is an error 500, a failure
    of the function an error 502.
    """
    integration: Any = target.method.method_integration
    arn = integration.uri.partition("/functions/")[2].removesuffix("/invocations")
    function = functions.find(target.api.account_id, target.api.region_name, arn)
    if not functions.may_invoke(function, "apigateway.amazonaws.com", target.arn):
        return _error(500, _INTERNAL)
    return _mapped(functions.fleet.invoke(function, json.dumps(event).encode(), str(uuid.uuid4())))


def _find(request: Request) -> _Target:
    api_id, _, rest = request.path.removeprefix(PREFIX).partition("/")
    stage, _, path = rest.partition("/")
    for regions in [*apigateway_backends.values()]:
        for backend in [*regions.values()]:
            api = backend.apis.get(api_id)
            if api is None or stage not in api.stages:
                continue
            resource: Any = api.get_resource_for_path(f"/{path}")
            if resource and request.method in resource.resource_methods:
                method = resource.resource_methods[request.method]
                return _Target(api, stage, f"/{path}", method)
    # API Gateway answers "Missing Authentication Token" if there is no such method.
    raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")


def _authorize(caller: Caller, target: _Target) -> None:
    """Require that the caller's policies allow ``execute-api:Invoke``; refuse other accounts."""
    account = target.api.account_id
    decision = decide(caller.policies, "execute-api:Invoke", target.arn)
    if decision is not Decision.ALLOWED or caller.account != account:
        # API Gateway shows only the last four digits of the account.
        shown = target.arn.replace(account, f"{'*' * 8}{account[-4:]}")
        raise Refused(
            "AccessDeniedException",
            f"User: {caller.arn} is not authorized to perform: execute-api:Invoke on resource: {shown}",
        )


def _event(request: Request, target: _Target, caller: Caller | None) -> dict[str, Any]:
    """Return the event of a proxy integration, in payload format 1.0."""
    query = request.args.to_dict(flat=False)
    headers = {name: request.headers.getlist(name) for name, _ in request.headers}
    return {
        "resource": target.path,
        "path": target.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": request.method,
            "identity": {
                "accountId": caller and caller.account,
                "userArn": caller and caller.arn,
            },
            "path": f"/{target.stage}{target.path}",
            "resourcePath": target.path,
            "stage": target.stage,
        },
        "body": request.get_data(as_text=True) or None,
        "isBase64Encoded": False,
    }


def _mapped(outcome: Outcome) -> Response:
    """Return the answer as HTTP; see *Output format of a Lambda function for proxy integration*."""
    answer = json.loads(outcome.payload)
    is_mappable = isinstance(answer, dict) and "statusCode" in answer
    if not outcome.succeeded or not is_mappable:
        return _error(502, _INTERNAL)
    headers = {
        "Content-Type": "application/json",
        **answer.get("headers", {}),
        **answer.get("multiValueHeaders", {}),
    }
    return Response(answer.get("body"), answer["statusCode"], headers)


def _error(status: int, body: dict[str, str], headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, content_type="application/json")
