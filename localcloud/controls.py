"""The controls: functions with ``@control``, by which a test does what nobody can do to AWS.

:class:`localcloud.client.LocalCloud` has each of them as a method with the same arguments.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from moto.core.request import Request
from werkzeug.wrappers import Response

PREFIX = "/_cloud/"
F = TypeVar("F", bound=Callable[..., Any])

_controls: dict[str, Callable[..., Any]] = {}


def control(function: F) -> F:
    """Make a function a control; arguments and result are JSON, in which other values become text."""
    _controls[function.__name__] = function
    return function


def respond(request: Request) -> Response:
    """Call the control that the path names; answer KeyError, TimeoutError, TypeError and ValueError."""
    name, arguments = request.path.removeprefix(PREFIX), json.loads(request.get_data())
    try:
        result = _controls[name](*arguments["positional"], **arguments["named"])
    except (KeyError, TimeoutError, TypeError, ValueError) as error:
        return Response(json.dumps(f"{type(error).__name__}: {error}"), 400)
    return Response(json.dumps(result, default=str))
