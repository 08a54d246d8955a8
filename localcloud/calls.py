"""The calls to AWS: a journal of them, IAM's verdict on each, and the faults that may befall them.

AWS throttles, fails, and answers so late that the caller has given up although the call has taken effect; a
Lambda may be killed between any two calls. None of this can be had from AWS when a test wants it. Here it
is ordered: each fault names the calls it befalls, and what happens to them (:data:`KINDS`).

The errors are those of the services' models and of their *Common errors* pages. What retries botocore makes
of them are botocore's own: a fault that happens once is usually healed by a retry.
"""

import contextlib
import fnmatch
import io
import json
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from localcloud import authorization, functions, identities, resources, wire
from localcloud.identities import Caller, Refused

#: What a fault may do to a call. "before" means that the call takes no effect, "after" that it has done so.
KINDS = ("throttle", "deny", "timeout-before", "timeout-after", "kill-before", "kill-after")
JOURNAL_LENGTH = 20_000


@dataclass
class Fault:
    """What happens to the ``nth`` matching call and those after it, ``times`` altogether; 0: for ever."""

    operation: str
    kind: str
    function: str = ""
    nth: int = 1
    times: int = 1
    matched: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault's kind is one of {KINDS}")

    def befalls(self, operation: str, function: str | None) -> bool:
        """Count the call if it matches, and tell whether it is hit."""
        if not fnmatch.fnmatchcase(operation, self.operation):
            return False
        if not (function or "").endswith(self.function):
            return False
        self.matched += 1
        return self.nth <= self.matched and (
            self.times == 0 or self.matched < self.nth + self.times
        )


class _Book:
    """The journal and the faults: one for the server's process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.journal: deque[dict[str, Any]] = deque(maxlen=JOURNAL_LENGTH)
        self.faults: list[Fault] = []

    def open(self, call: wire.Call, caller: Caller | None) -> tuple[dict[str, Any], str | None]:
        """Enter a call in the journal, in the order of arrival; returns the entry and the fault's kind."""
        operation = f"{call.service}:{call.operation}"
        function = functions.function_of(call.access_key)
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(),
            "account": call.account,
            "principal": caller and caller.arn,
            "function": function,
            "operation": operation,
            "resources": [resource for _, resource in authorization.needs(call)],
            "status": None,
            "error": None,
            "fault": None,
        }
        with self.lock:
            # All faults count the call, also those behind the one that hits it.
            hits = [fault.kind for fault in self.faults if fault.befalls(operation, function)]
            entry["fault"] = hits[0] if hits else None
            self.journal.append(entry)
        return entry, entry["fault"]


_book = _Book()


class CallGate:
    """WSGI middleware through which every call to a service passes."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_USER_AGENT", "").startswith(resources.AGENT):
            # The journal has the calls to CloudFormation, not those that it makes.
            answered: Iterable[bytes] = self._app(environ, start_response)
            return answered
        body = _body(environ)
        try:
            call = wire.read(environ, body)
        except Refused as refusal:
            start_response("403 Forbidden", [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": refusal.code, "message": str(refusal)}).encode()]
        caller, refused = _who(call)
        entry, fault = _book.open(call, caller)
        if fault in ("timeout-before", "kill-before"):
            _hang_up(environ, call, kill=fault == "kill-before")
        answer = refused or _error(fault, call, caller) or _verdict(call, caller)
        answer = answer or self._ask(environ)
        entry["status"], entry["error"] = answer.status, answer.error_code
        if fault in ("timeout-after", "kill-after"):
            _hang_up(environ, call, kill=fault == "kill-after")
        start_response(
            f"{answer.status} {HTTPStatus(answer.status).phrase}", [*answer.headers.items()]
        )
        return [answer.body]

    def _ask(self, environ: dict[str, Any]) -> wire.Answer:
        """What the service answers."""
        begun: list[Any] = []
        chunks = self._app(environ, lambda status, headers, _=None: begun.extend((status, headers)))
        try:
            body = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        status, headers = begun
        return wire.Answer(int(status.split()[0]), dict(headers), body)


def _body(environ: dict[str, Any]) -> bytes:
    """The request's body, which can be read again from there."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _who(call: wire.Call) -> tuple[Caller | None, wire.Answer | None]:
    """Who calls, or the answer to somebody whom nobody knows."""
    try:
        return identities.identify(call.access_key, call.session_token), None
    except Refused as refusal:
        return None, call.refused(refusal)


def _verdict(call: wire.Call, caller: Caller | None) -> wire.Answer | None:
    """IAM's; what it has no answer to is our fault, and said so."""
    try:
        return authorization.refusal(call, caller) if caller else None
    except authorization.NotRestored as gap:
        return call.error("InternalFailure", str(gap), 500)


def reset() -> None:
    """Forget the calls and the faults."""
    with _book.lock:
        _book.journal.clear()
        _book.faults.clear()


def _error(fault: str | None, call: wire.Call, caller: Caller | None) -> wire.Answer | None:
    """The error that the fault answers with, if it does."""
    if fault == "throttle":
        code = "Throttling" if call.protocol == "query" else "ThrottlingException"
        return call.error(code, "Rate exceeded", 400)
    if fault == "deny":
        action, resource = (authorization.needs(call) or [(call.operation, "*")])[0]
        return authorization.denial(
            call,
            f"User: {caller and caller.arn} is not authorized to perform: {action} "
            f"on resource: {resource} {authorization.Decision.EXPLICIT_DENY.value}",
        )
    return None


def _hang_up(environ: dict[str, Any], call: wire.Call, kill: bool) -> None:
    """Close the connection without an answer, the caller's process being killed first if so ordered.

    The werkzeug server takes the error raised for what it is, a connection that is no more.
    """
    if kill:
        pid = functions.pid_of(call.access_key)
        if pid is not None:
            # It may have ended by itself, or been killed by another fault.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("hung up, as a fault demands")


def _calls(query: dict[str, Any]) -> list[dict[str, Any]]:
    """GET: the journal, oldest first; of one function, if its name, or the end of it, is given."""
    suffix = query.get("function", "")
    with _book.lock:
        return [entry for entry in _book.journal if (entry["function"] or "").endswith(suffix)]


def _clear(_: Any) -> dict[str, Any]:
    """DELETE: empty the journal."""
    with _book.lock:
        _book.journal.clear()
    return {}


def _set_faults(faults: list[dict[str, Any]]) -> dict[str, Any]:
    """PUT: replace the faults."""
    replaced = [Fault(**fault) for fault in faults]
    with _book.lock:
        _book.faults = replaced
    return {}


ROUTES = {
    ("GET", "/_cloud/calls"): _calls,
    ("DELETE", "/_cloud/calls"): _clear,
    ("PUT", "/_cloud/faults"): _set_faults,
}
