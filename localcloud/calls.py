"""The calls to AWS: record each one, authorize it, and inject the faults that a test asks for.

AWS throttles, fails, or answers so late that the caller has given up although the call has taken effect. A
Lambda function may be killed after any call. The errors are those of the services' models and of their *Common
errors* pages. botocore retries them as on AWS, so a fault that happens once usually has no effect.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from moto.core.request import Request
from werkzeug.wrappers import Response

from localcloud import authorization, functions, identities, wire
from localcloud.controls import control
from localcloud.identities import Refused
from localcloud.policies import Decision, NotRestored

#: What a fault may do to a call; "after" means that the call has taken effect.
Kind = Literal["throttle", "deny", "timeout-after", "kill-after"]


@dataclass
class Fault:
    """What happens to the ``nth`` matching call and those after it, ``times`` in all; 0 means forever."""

    operation: str
    kind: Kind
    function: str = ""
    nth: int = 1
    times: int = 1
    matched: int = field(default=0, init=False)

    def hits(self, operation: str, function: str) -> bool:
        """Count the call if it matches, and return whether the fault affects it."""
        if not fnmatchcase(operation, self.operation) or not function.endswith(self.function):
            return False
        self.matched += 1
        return self.matched >= self.nth and (not self.times or self.matched < self.nth + self.times)


_lock = threading.Lock()
_journal: deque[dict[str, Any]] = deque(maxlen=20_000)
_faults: list[Fault] = []


def enter(call: wire.Call) -> tuple[str, str]:
    """Record a call, and return its operation and the function that makes it."""
    operation = f"{call.service}:{call.operation}"
    owner = functions.fleet.owner(call.access_key)
    function = owner.configuration["FunctionName"] if owner else ""
    needs = authorization.needs(call)
    entry = {
        "function": function,
        "operation": operation,
        "actions": [action for action, _ in needs],
        "resources": [resource for _, resource in needs],
    }
    with _lock:
        _journal.append(entry)
    return operation, function


def _fault(operation: str, function: str) -> str | None:
    """Return the kind of the fault that affects a call."""
    with _lock:
        # Every fault counts the call, including those after the one that affects it.
        hits = [fault.kind for fault in _faults if fault.hits(operation, function)]
    return hits[0] if hits else None


def respond(request: Request, service: Callable[[], Response]) -> Response:
    """Answer a call with the error of a fault or of IAM, or else with the answer of the ``service``."""
    protocol = "json"  # until the service is known
    try:
        call = wire.read(request)
        protocol = call.protocol
        fault = _fault(*enter(call))
        _admit(call, fault)
    except Refused as refusal:
        return wire.error(protocol, refusal.code, str(refusal), refusal.status)
    response = service()
    if fault in ("timeout-after", "kill-after"):
        _hang_up(request, call, kill=fault == "kill-after")
    return response


def _admit(call: wire.Call, fault: str | None) -> None:
    """Raise Refused if a fault or IAM refuses the call."""
    try:
        caller = identities.identify(call.access_key, call.session_token)
    except Refused as refusal:
        if call.protocol == "query":
            refusal.code = "InvalidClientTokenId"
        raise
    if fault == "throttle":
        code = "Throttling" if call.protocol == "query" else "ThrottlingException"
        if call.service == "lambda":
            code = "TooManyRequestsException"
        raise Refused(code, "Rate exceeded", 400)
    if fault == "deny":
        action, resource = (authorization.needs(call) or [(call.operation, "*")])[0]
        raise authorization.denial(call, caller, action, resource, Decision.EXPLICIT_DENY)
    try:
        authorization.authorize(call, caller)
    except NotRestored as gap:
        raise Refused("InternalFailure", str(gap), 500) from gap


def _hang_up(request: Request, call: wire.Call, kill: bool) -> None:
    """Close the connection without an answer; with ``kill``, kill the caller's process first.

    The werkzeug server handles the error as if the caller had closed the connection.
    """
    owner = functions.fleet.owner(call.access_key)
    if kill and owner:
        owner.kill()
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("closed by a fault")


def reset() -> None:
    """Forget the calls and the faults."""
    clear_calls()
    set_faults([])


@control
def calls(function: str = "") -> list[dict[str, Any]]:
    """Return the recorded calls, oldest first, of the functions whose names end with ``function``."""
    with _lock:
        return [entry for entry in _journal if entry["function"].endswith(function)]


@control
def clear_calls() -> None:
    """Forget the recorded calls."""
    with _lock:
        _journal.clear()


@control
def set_faults(faults: list[dict[str, Any]]) -> None:
    """Replace the list of faults, each an object with the fields of :class:`Fault`."""
    with _lock:
        _faults[:] = [Fault(**fault) for fault in faults]
