"""Read an AWS request as the service does: the caller, the operation and its parameters. Answer errors.

The protocols are those of botocore's service models, which moto's parsers can read. moto's own serializer of
errors is not used, because it warns of every error code that is common to all services.
"""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from moto.iam.models import get_account_id_from
from werkzeug.wrappers import Response

from localcloud import signatures

# Services that sign with a name that is neither IAM's prefix nor the model's name.
_PREFIXES = {"monitoring": "cloudwatch"}
# Services whose IAM prefix is not the model's name.
_MODELS = {"states": "stepfunctions"}


@dataclass(frozen=True)
class Call:
    """A request to a service.

    ``service`` is the prefix of IAM's actions, ``operation`` the API's name of the operation; ``parameters``
    have the model's names.
    """

    access_key: str
    session_token: str | None
    account: str
    region: str
    service: str
    operation: str
    protocol: str = "json"
    parameters: dict[str, Any] = field(default_factory=dict)


def error(protocol: str, code: str, message: str, status: int) -> Response:
    """Return an error in a protocol."""
    request_id = str(uuid4())
    headers = {"x-amzn-RequestId": request_id}
    if protocol in ("json", "rest-json"):
        content_type = "application/json"
        headers["x-amzn-ErrorType"] = code
        text = json.dumps({"__type": code, "message": message})
    else:
        content_type = "text/xml"
        fault = "Receiver" if status >= 500 else "Sender"
        text = (
            f"<ErrorResponse><Error><Type>{fault}</Type><Code>{code}</Code>"
            f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return Response(text, status, headers, content_type=content_type)


def read(request: Request) -> Call:
    """Return the call that a request makes; raise Refused if it is not signed."""
    access_key, _, region, signed_service = signatures.parse(request)
    prefix = _PREFIXES.get(signed_service, signed_service)
    name = _MODELS.get(prefix, prefix)
    service = get_service_model(name)
    protocol = determine_request_protocol(service, request.content_type)
    path: dict[str, Any] = {}
    if protocol.startswith("rest-"):
        model, path = get_service_router(name).match(request)
    else:
        target = request.headers.get("X-Amz-Target") or request.values["Action"]
        model = service.operation_model(target.rpartition(".")[2])
    parameters = PROTOCOL_PARSERS[protocol](model).parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.get_data(),
            "url_path": request.path,
            "url_params": path,
        }
    )
    return Call(
        access_key=access_key,
        session_token=request.headers.get("X-Amz-Security-Token"),
        account=get_account_id_from(access_key),
        region=region,
        service=prefix,
        operation=model.name,
        protocol=protocol,
        parameters=parameters,
    )
