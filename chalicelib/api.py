"""The operators' HTTP API: each route parses its request, calls one use case, and answers."""

import json
import logging
import re
import unicodedata
from collections import Counter
from typing import Any

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

from chalicelib.errors import NotFound, RefreshError, Refused
from chalicelib.pin import Pin, pin
from chalicelib.ports import World
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import SnapshotArn

BODY_LIMIT = 8_192
ARN_LIMIT = 512
IDENTIFIER_LIMIT = 255
REASON_LIMIT = 256
ECHO_LIMIT = 80

# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
# "rds:" begins the names of automated snapshots.
_IDENTIFIER = re.compile(r"(rds:)?[A-Za-z](-?[A-Za-z0-9])*")

# Control characters, invisible ones (bidirectional overrides, zero width), halves of surrogate
# pairs, and Unicode's line ends: a reason is read in terminals, logs and mails.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_WANTED = {str: "a string is wanted", bool: "true or false is wanted"}


def routes(settings: Settings, world: World) -> Blueprint:
    """The API's routes, each behind the IAM authorizer: API Gateway verifies the signature."""
    blueprint = Blueprint(__name__)
    logger = logging.getLogger("aurora-refresh")

    @blueprint.route("/snapshots/current", methods=["PUT"], authorizer=IAMAuthorizer())
    def pin_current() -> dict[str, Any]:
        request = blueprint.current_request
        body = _body(request, {"snapshot": str, "reason": str, "deploy": bool, "database": str})
        wish = Pin(
            snapshot=_snapshot(body),
            by=_caller(request),
            why=_reason(body),
            deploy=body.get("deploy", False),
        )
        grounds = {"wish": body, "caller": wish.by}
        try:
            answer = pin(settings, world, _database(settings, request, body), wish)
        except RefreshError as error:
            logger.info("pin", extra={**grounds, "refusal": str(error)})
            raise _http_error(error) from error
        logger.info("pin", extra={**grounds, "answer": answer})
        return answer

    return blueprint


def _http_error(error: RefreshError) -> ChaliceViewError:
    if isinstance(error, NotFound):
        return NotFoundError(str(error))
    if isinstance(error, Refused):
        return ConflictError(str(error))
    return ChaliceViewError(str(error))


def _body(request: Request, fields: dict[str, type]) -> dict[str, Any]:
    """The request's JSON object, held against the declared ``fields``."""
    try:
        body = json.loads(
            _bounded(request.raw_body), parse_constant=_no_constant, object_pairs_hook=_object
        )
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body is not a JSON object")
    for name, value in body.items():
        if name not in fields:
            raise BadRequestError(f"unknown field {_echo(name)}; known: {', '.join(fields)}")
        if type(value) is not fields[name]:  # a bool is an int to isinstance
            raise BadRequestError(f"{name} is {_echo(value)}: {_WANTED[fields[name]]}")
    return body


def _bounded(raw: str | bytes) -> str | bytes:
    if len(raw) > BODY_LIMIT:
        raise BadRequestError(f"the body is larger than {BODY_LIMIT} bytes")
    return raw


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python reads but JSON has not


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise BadRequestError(f"field {_echo(name)} is written {times} times")
    return dict(pairs)


def _echo(value: object) -> str:
    """``value`` as its sender wrote it, cut short: escaped, so that it controls no terminal."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= ECHO_LIMIT else f"{text[:ECHO_LIMIT]}…"


def _snapshot(body: dict[str, Any]) -> str:
    wanted = "the ARN or the identifier of a DB cluster snapshot is wanted, or latest"
    if "snapshot" not in body:
        raise BadRequestError(f"snapshot is missing: {wanted}")
    snapshot: str = body["snapshot"]
    if not (
        (len(snapshot) <= IDENTIFIER_LIMIT and _IDENTIFIER.fullmatch(snapshot))
        or (len(snapshot) <= ARN_LIMIT and SnapshotArn.parse(snapshot))
    ):
        raise BadRequestError(f"snapshot is {_echo(snapshot)}: {wanted}")
    return snapshot


def _reason(body: dict[str, Any]) -> str:
    reason: str = body.get("reason", "")
    if len(reason) > REASON_LIMIT or _INVISIBLE.intersection(map(unicodedata.category, reason)):
        raise BadRequestError(
            f"reason wants at most {REASON_LIMIT} characters and none that is invisible or "
            "controls a terminal"
        )
    return reason


def _database(settings: Settings, request: Request, body: dict[str, Any]) -> Database:
    """The database that query or body names; it need not where there is only one."""
    query = request.query_params or MultiDict({})
    unknown = [name for name in query if name != "database"]
    if unknown:
        raise BadRequestError(
            f"unknown query parameter {_echo(', '.join(unknown))}; known: database"
        )
    names = {name for parameter in query for name in query.getlist(parameter)}
    if "database" in body:
        names.add(body["database"])
    known = {database.name: database for database in settings.databases}
    if len(names) > 1:
        raise BadRequestError("the request names different databases")
    if not names and len(known) > 1:
        raise BadRequestError(f"database is missing: name one of {', '.join(known)}")
    name = names.pop() if names else next(iter(known))
    if name not in known:
        message = f"there is no database {_echo(name)}; known: {', '.join(known)}"
        raise NotFound("database-unknown", message)
    return known[name]


def _caller(request: Request) -> str:
    # chalice local signs nobody in; API Gateway always names the caller of a signed request.
    caller: str | None = request.context.get("identity", {}).get("userArn")
    return caller or "unknown"
