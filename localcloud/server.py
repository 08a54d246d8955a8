"""The server: moto behind the bridges, and the control surface beside it.

A request passes, from the outside in: the control surface (``/_cloud/…``), API Gateway's execute-api
endpoint, the call gate (journal, IAM, faults), and then moto.
"""

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from moto.iam.models import iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from localcloud import (
    accounts,
    calls,
    clock,
    executions,
    functions,
    gateway,
    imports,
    keys,
    pipeline,
    quotas,
    rows,
    rules,
    shares,
    stacks,
    subscriptions,
)

Handler = Callable[[Any], Any]
BRIDGES = (
    *(clock, functions, rules, imports, shares, keys, pipeline, stacks),
    *(executions, quotas, subscriptions, rows, calls),
)

_ALLOW_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)


class ControlSurface:
    """WSGI middleware: what a test may do to the cloud that nobody can do to AWS.

    Each bridge may offer ``ROUTES``: (method, path) → handler. A handler is given the JSON body (an object
    with the query's arguments merged in, or a list as it is) and returns what is to be answered as JSON.
    KeyError, TypeError and ValueError are the caller's fault: 400.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._routes: dict[tuple[str, str], Handler] = {("POST", "/_cloud/reset"): _reset_route}
        for bridge in BRIDGES:
            self._routes.update(getattr(bridge, "ROUTES", {}))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith("/_cloud/"):
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        request = Request(environ)
        status, body = self._answer(request)
        response = Response(json.dumps(body), status=status, content_type="application/json")
        return response(environ, start_response)

    def _answer(self, request: Request) -> tuple[int, Any]:
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            return 404, {"error": f"no route {request.method} {request.path}"}
        try:
            arguments = json.loads(request.get_data() or b"{}")
            if isinstance(arguments, dict):
                arguments = {**request.args.to_dict(), **arguments}
            return 200, handler(arguments)
        except KeyError as error:
            return 400, {"error": f"missing or unknown: {error}"}
        except (TypeError, ValueError) as error:
            return 400, {"error": str(error)}


def reset() -> None:
    """Put everything back to the start: bridges first, as they may still be working on moto's state."""
    for bridge in BRIDGES:
        getattr(bridge, "reset", lambda: None)()
    moto_api_backend.reset()
    _create_users()


def _reset_route(_: Any) -> dict[str, Any]:
    reset()
    return {}


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


def serve(port: int, announce: Callable[[str], None]) -> None:
    """Serve on the loopback interface until interrupted, and leave nothing behind.

    Port 0 lets the system choose one. ``announce`` is given the endpoint as soon as it answers.
    """
    # One line for each request would bury what matters; the calls' journal has them all.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for bridge in BRIDGES:
        getattr(bridge, "install", lambda: None)()
    _create_users()
    moto = DomainDispatcherApplication(create_backend_app)
    app = ControlSurface(gateway.ExecuteApi(calls.CallGate(moto)))
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        functions.serve_at(endpoint)
        announce(endpoint)
        server.serve_forever()
    finally:
        server.server_close()
        functions.close()
        rows.close()
