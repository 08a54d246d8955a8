"""An AWS request as the service reads it: who calls which operation with what; and how errors are answered.

Nothing is restored here: the protocols are those of botocore's service models, and moto's own parsers read
them; its serialiser of errors is not used, as it warns of every code that is common to all services.
"""

import io
import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from moto.iam.models import get_account_id_from

from localcloud import signatures
from localcloud.identities import Refused

# The query protocol's names of refusals (*Common Error Types*), which the others end in "Exception".
_QUERY_CODES = {
    "ExpiredTokenException": "ExpiredToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
# Where the name a service signs with is neither IAM's prefix nor its model's name.
_PREFIXES = {"monitoring": "cloudwatch"}
# Where IAM's prefix is not the name of the model.
_MODELS = {"states": "stepfunctions"}


@dataclass(frozen=True)
class Call:
    """A request to a service.

    ``service`` is the prefix of IAM's actions, ``operation`` the API's name of the operation; ``parameters``
    are in the model's terms.
    """

    access_key: str
    session_token: str | None
    account: str
    region: str
    service: str
    operation: str
    protocol: str = "json"
    parameters: dict[str, Any] = field(default_factory=dict)

    def refused(self, refusal: Refused) -> "Answer":
        """The answer to a caller who is not let in."""
        code = (
            _QUERY_CODES.get(refusal.code, refusal.code)
            if self.protocol == "query"
            else refusal.code
        )
        return self.error(code, str(refusal), 403)

    def error(self, code: str, message: str, status: int) -> "Answer":
        """The error in the service's own protocol."""
        headers = {"Content-Type": "text/xml"}
        if self.protocol == "json":
            headers = {"Content-Type": "application/x-amz-json-1.1"}
            text = json.dumps({"__type": code, "message": message})
        elif self.protocol == "rest-json":
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
            text = json.dumps({"message": message})
        else:
            fault = "Receiver" if status >= 500 else "Sender"
            text = (
                f"<ErrorResponse><Error><Type>{fault}</Type><Code>{code}</Code>"
                f"<Message>{escape(message)}</Message></Error>"
                f"<RequestId>{uuid4()}</RequestId></ErrorResponse>"
            )
        body = text.encode()
        headers["x-amzn-RequestId"] = str(uuid4())
        return Answer(status, headers | {"Content-Length": str(len(body))}, body)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error_code(self) -> str | None:
        """The error's code, in whichever protocol; None if it is no error."""
        if self.status < 400:
            return None
        headers = {name.lower(): value for name, value in self.headers.items()}
        if "x-amzn-errortype" in headers:
            return headers["x-amzn-errortype"].partition(":")[0]
        text = self.body.decode(errors="replace")
        found = re.search(r'<Code>([^<]+)</Code>|"__type":\s*"(?:[^"#]*#)?([^"]+)"', text)
        return (found[1] or found[2]) if found else str(self.status)


def read(environ: dict[str, Any], body: bytes) -> Call:
    """The call a WSGI request makes; Refused if it is not signed."""
    request = Request({**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
    given = signatures.parse(environ.get("HTTP_AUTHORIZATION", ""))
    prefix = _PREFIXES.get(given.service, given.service)
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
        access_key=given.access_key_id,
        session_token=environ.get("HTTP_X_AMZ_SECURITY_TOKEN"),
        account=get_account_id_from(given.access_key_id),
        region=given.region,
        service=prefix,
        operation=model.name,
        protocol=protocol,
        parameters=parameters,
    )
