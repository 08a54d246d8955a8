"""The operators' HTTP API: each route parses its request, calls one use case, and answers."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chalice.app import (
    BadRequestError,
    Blueprint,
    ChaliceViewError,
    ConflictError,
    IAMAuthorizer,
    NotFoundError,
    Request,
)

from chalicelib.domain.database import Database
from chalicelib.domain.errors import BusyError, NotFound, RefreshError, Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import ToJson
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import validation
from chalicelib.usecases import hold, pin, promote, status

Json = dict[str, Any]

_LOGGER = logging.getLogger(APP)


class Call(NamedTuple):
    """A request: its query, its fields' values, and who signed it."""

    settings: Settings
    aws: Aws
    query: Sequence[tuple[str, str]]
    actor: str
    body: Json

    @property
    def database(self) -> Database:
        """The database that the query or the body names."""
        known = {database.name: database for database in self.settings.databases}
        name = validation.database_name(self.query, self.body, list(known))
        if name not in known:
            message = f"there is no database {validation.echo(name)}; known: {', '.join(known)}"
            raise NotFound(Reason.DATABASE_UNKNOWN, message)
        return known[name]


class Action(NamedTuple):
    """What a person may ask for: the fields of the request, and the use case to call."""

    fields: tuple[validation.Field, ...]
    run: Callable[[Call], ToJson]


def _pin(call: Call) -> ToJson:
    body = call.body
    request = pin.PinRequest(body["snapshot"], call.actor, body["reason"], body["deploy"])
    return pin.pin(call.settings, call.aws, call.database, request)


def _rollback(call: Call) -> ToJson:
    settings, aws, _, actor, body = call
    return pin.rollback(settings, aws, call.database, actor, body["reason"], deploy=body["deploy"])


def _refresh(call: Call) -> ToJson:
    settings, aws, _, actor, body = call
    request = promote.RefreshRequest.by_person(
        actor, body["reason"], outside_window=body["outside_window"]
    )
    return promote.refresh_now(settings, aws, request, dry_run=body["dry_run"])


def _hold(call: Call) -> ToJson:
    settings, aws, _, actor, body = call
    return hold.hold(settings, aws, body["until"], actor, body["reason"])


def _resume(call: Call) -> ToJson:
    return hold.resume(call.settings, call.aws, call.actor)


ACTIONS = {
    "pin": Action(validation.PIN, _pin),
    "rollback": Action(validation.ROLLBACK, _rollback),
    "refresh": Action(validation.REFRESH, _refresh),
    "hold": Action(validation.HOLD, _hold),
    "resume": Action((), _resume),
}
_QUESTIONS: dict[str, Callable[[Call], Json]] = {
    "history": lambda call: status.history(call.settings, call.aws, call.database),
    "snapshots": lambda call: status.snapshots(call.aws, call.database),
    "status": lambda call: status.status(call.settings, call.aws),
}
_OF_ONE_DATABASE = {"history", "snapshots"} | {
    name for name, action in ACTIONS.items() if validation.DATABASE in action.fields
}
_ROUTES = {
    ("PUT", "/snapshots/current"): "pin",
    ("POST", "/snapshots/current/rollback"): "rollback",
    ("GET", "/snapshots/current/history"): "history",
    ("GET", "/snapshots"): "snapshots",
    ("GET", "/status"): "status",
    ("PUT", "/hold"): "hold",
    ("DELETE", "/hold"): "resume",
    ("POST", "/refresh"): "refresh",
}


def routes(settings: Settings, aws: Aws) -> Blueprint:
    """Return the API's routes, each behind the IAM authorizer: API Gateway verifies the signature."""
    blueprint = Blueprint(__name__)

    def view_of(name: str) -> Callable[[], Json]:
        def view() -> Json:
            try:
                return _answer(name, settings, aws, blueprint.current_request)
            except validation.InvalidRequest as problem:
                raise BadRequestError(str(problem)) from None
            except RefreshError as error:
                raise _http_error(error) from error

        view.__name__ = name
        return view

    for (method, path), name in _ROUTES.items():
        blueprint.route(path, methods=[method], authorizer=IAMAuthorizer())(view_of(name))
    return blueprint


def _answer(name: str, settings: Settings, aws: Aws, request: Request) -> Json:
    parameters = request.query_params
    query = (
        [(each, text) for each in parameters for text in parameters.getlist(each)]
        if parameters
        else []
    )
    validation.check_query(query, ["database"] if name in _OF_ONE_DATABASE else [])
    actor = request.context.get("identity", {}).get("userArn") or "unknown"
    if name in _QUESTIONS:
        return _QUESTIONS[name](Call(settings, aws, query, actor, {}))
    action = ACTIONS[name]
    try:
        raw = request.raw_body
    except UnicodeEncodeError:  # Chalice encodes it, and half of a surrogate pair has no code
        raise validation.InvalidRequest("the body is not JSON") from None
    body = validation.json_body(raw.encode() if isinstance(raw, str) else raw, action.fields)
    grounds = {"request": body, "caller": actor}
    try:
        answer = action.run(Call(settings, aws, query, actor, body)).to_json()
    except RefreshError as error:
        _LOGGER.info(name, extra={**grounds, "refusal": str(_http_error(error))})
        raise
    if "dry_run" in body:
        answer["dry_run"] = body["dry_run"]
    _LOGGER.info(name, extra={**grounds, "answer": answer})
    return answer


def _http_error(error: RefreshError) -> ChaliceViewError:
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, NotFound):
        return NotFoundError(message)
    if isinstance(error, Refused | BusyError):
        return ConflictError(message)
    return ChaliceViewError(message)
