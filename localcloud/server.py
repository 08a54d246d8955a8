"""The server: moto with this package's corrections, and the controls."""

import importlib
import io
import logging
from collections.abc import Callable, Iterable
from typing import Any

from moto.core.request import Request
from moto.core.responses import BaseResponse
from moto.iam.models import iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from localcloud import (
    accounts,
    calls,
    clock,
    controls,
    executions,
    functions,
    gateway,
    keys,
    pipeline,
    resources,
    rows,
    rules,
    shares,
    stacks,
    subscriptions,
    wire,
)

# Each replaces the class of moto that it extends.
_APIS: tuple[type[BaseResponse], ...] = (
    *(gateway.SwaggerResponse, functions.InvocationResponse, stacks.StackResponse),
    *(pipeline.RunningCodePipelineResponse, keys.SharedKmsResponse, shares.SharingRDSResponse),
    *(rows.RowsResponse, subscriptions.PendingSNSResponse, executions.ExecutionResponse),
)
# Each may have ``install`` and ``reset``.
MODULES = (
    *(clock, functions, rules, gateway, shares, keys, pipeline, stacks),
    *(executions, subscriptions, rows, calls),
)

_ALLOW_ALL = """{
  "Version": "2012-10-17",
  "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
}"""


_moto = DomainDispatcherApplication(create_backend_app)


def _serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    request, port = Request(environ), environ["SERVER_PORT"]
    # A web page could reach this by DNS rebinding, and run its code in a function.
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    if request.headers.get("Host") not in hosts or "Origin" in request.headers:
        return Response("not for web pages", 403)(environ, start_response)
    # The body is read again by whatever answers.
    environ["wsgi.input"] = io.BytesIO(request.get_data())

    def service() -> Response:
        return Response.from_app(_moto, environ, buffered=True)

    if request.path.startswith(controls.PREFIX):
        response = controls.respond(request)
    elif request.path.startswith(gateway.PREFIX):
        response = gateway.respond(request)
    elif request.user_agent.string.startswith(resources.AGENT):
        # On AWS, CloudFormation's calls need its caller's permissions; here they are not evaluated.
        calls.enter(wire.read(request))
        response = service()
    else:
        response = calls.respond(request, service)
    return response(environ, start_response)


@controls.control
def reset() -> None:
    """Reset everything; this package first, because its threads may still use moto's state."""
    for module in MODULES:
        getattr(module, "reset", lambda: None)()
    moto_api_backend.reset()
    _create_users()


def _create_users() -> None:
    for key in accounts.KEYS:
        backend = iam_backends[key.account]["aws"]
        user = backend.create_user("us-east-1", key.user)
        if key.user == "admin":
            user.put_policy("everything", _ALLOW_ALL)
        access_key = user.create_access_key(prefix="AKIA")
        access_key.access_key_id = key.access_key_id
        access_key.secret_access_key = key.secret_access_key
        backend.access_keys[key.access_key_id] = access_key


def serve(announce: Callable[[str], None]) -> None:
    """Serve on the loopback interface until interrupted, and leave nothing behind.

    ``announce`` gets the endpoint as soon as it answers.
    """
    # A line for each request would hide what matters; the record of calls has them all.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for api in _APIS:
        replaced: Any = api.__base__
        paths = importlib.import_module(replaced.__module__.replace("responses", "urls")).url_paths
        for path, handler in paths.items():
            if handler == replaced.dispatch:
                paths[path] = api.dispatch
    for module in MODULES:
        getattr(module, "install", lambda: None)()
    _create_users()
    server = make_server("127.0.0.1", 0, _serve, threaded=True, request_handler=MotoRequestHandler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        functions.fleet.open(endpoint)
        announce(endpoint)
        server.serve_forever()
    finally:
        server.server_close()
        functions.fleet.close()
        rows.reset()
