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
    MultiDict,
    NotFoundError,
    Request,
)

from chalicelib.domain.database import Database
from chalicelib.domain.errors import BusyError, NotFound, RefreshError, Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.reasons import Reason
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
        named = [*(text for _, text in self.query), self.body.get("database")]
        asked = {each for each in named if each is not None}
        name = validation.database_name(asked, list(known))
        if name not in known:
            message = f"there is no database {validation.echo(name)}; known: {', '.join(known)}"
            raise NotFound(Reason.DATABASE_UNKNOWN, message)
        return known[name]


class Route(NamedTuple):
    """A route: the fields of its request, and the use case to call.

    A GET has no body, and the query names the database.
    """

    method: str
    path: str
    name: str
    run: Callable[[Call], Json]
    fields: tuple[validation.Field, ...] = ()


def _pin(call: Call) -> Json:
    """Pin a snapshot, or roll back if the request has none."""
    body = call.body
    request = pin.PinRequest(call.actor, body["reason"], body["deploy"], body.get("snapshot"))
    return pin.pin(call.settings, call.aws, call.database, request).to_json()


def _refresh(call: Call) -> Json:
    settings, aws, _, actor, body = call
    request = promote.RefreshRequest(actor, body["reason"], body["outside_window"], body["dry_run"])
    return promote.refresh_now(settings, aws, request).to_json()


def _hold(call: Call) -> Json:
    settings, aws, _, actor, body = call
    return hold.hold(settings, aws, body["until"], actor, body["reason"])


def _resume(call: Call) -> Json:
    return hold.resume(call.settings, call.aws, call.actor)


def _status(call: Call) -> Json:
    return status.status(call.settings, call.aws)


def _snapshots(call: Call) -> Json:
    return status.snapshots(call.aws, call.database)


def _history(call: Call) -> Json:
    return status.history(call.settings, call.aws, call.database)


_DATABASE = (validation.DATABASE,)
ROUTES = (
    Route("PUT", "/snapshots/current", "pin", _pin, validation.PIN),
    Route("POST", "/snapshots/current/rollback", "rollback", _pin, validation.ROLLBACK),
    Route("GET", "/snapshots/current/history", "history", _history, _DATABASE),
    Route("GET", "/snapshots", "snapshots", _snapshots, _DATABASE),
    Route("GET", "/status", "status", _status),
    Route("PUT", "/hold", "hold", _hold, validation.HOLD),
    Route("DELETE", "/hold", "resume", _resume),
    Route("POST", "/refresh", "refresh", _refresh, validation.REFRESH),
)


def routes(settings: Settings, aws: Aws) -> Blueprint:
    """Return the API's routes, each behind the IAM authorizer: API Gateway verifies the signature."""
    blueprint = Blueprint(__name__)

    def view_of(route: Route) -> Callable[[], Json]:
        def view() -> Json:
            try:
                return _answer(route, settings, aws, blueprint.current_request)
            except validation.InvalidRequest as problem:
                raise BadRequestError(str(problem)) from None

        view.__name__ = route.name
        return view

    for each in ROUTES:
        register = blueprint.route(each.path, methods=[each.method], authorizer=IAMAuthorizer())
        register(view_of(each))
    return blueprint


def _answer(route: Route, settings: Settings, aws: Aws, request: Request) -> Json:
    parameters = request.query_params or MultiDict({})
    query = [(name, text) for name in parameters for text in parameters.getlist(name)]
    validation.check_query(query, ["database"] if validation.DATABASE in route.fields else [])
    actor = request.context.get("identity", {}).get("userArn") or "unknown"
    is_read = route.method == "GET"
    body = {} if is_read else _body(request, route)
    grounds = {"request": body, "caller": actor}
    try:
        answer = route.run(Call(settings, aws, query, actor, body))
    except RefreshError as error:
        failure = _http_error(error)
        extra = {**grounds, "refusal": str(failure)}
        if failure.STATUS_CODE == ChaliceViewError.STATUS_CODE:
            _LOGGER.exception(route.name, extra=extra)  # to Lambda, an answer of 500 is no error
        elif not is_read:
            _LOGGER.info(route.name, extra=extra)
        raise failure from error
    if "dry_run" in body:
        answer["dry_run"] = body["dry_run"]
    if not is_read:
        _LOGGER.info(route.name, extra={**grounds, "answer": answer})
    return answer


def _body(request: Request, route: Route) -> Json:
    try:
        raw = request.raw_body
    except UnicodeEncodeError:  # Chalice encodes the body, which fails for a lone surrogate
        raise validation.InvalidRequest("the body is not JSON") from None
    return validation.json_body(raw.encode() if isinstance(raw, str) else raw, route.fields)


def _http_error(error: RefreshError) -> ChaliceViewError:
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, NotFound):
        return NotFoundError(message)
    if isinstance(error, Refused | BusyError):
        return ConflictError(message)
    return ChaliceViewError(message)
