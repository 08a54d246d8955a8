"""A quiet Sunday in an on-week, and what may happen in the account until the morning."""

import copy
import json
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from chalice.app import Chalice, Request, Response
from chalice.test import Client

from chalicelib.domain.ledger import Version
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import api
from chalicelib.usecases.pin import pin
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import promote, refresh_now
from chalicelib.usecases.reconcile import reconcile
from chalicelib.usecases.status import status
from chalicelib.usecases.update_latest import follow_copies, update
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, meanwhile, raised
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE, PIPELINE_NAME
from tests.test_openapi import OPERATIONS, resolved, validator_of
from tests.usecases.names import KIM, NEW, OLD, ONE, SUNDAY, TWO_IN_ONE_STACK, TWO_O_CLOCK

JSON = "application/json"
DOCUMENTS = {"engine": "docdb", "engine_version": "5.0.0", "cluster": "documents"}


class Night:
    """The account in which a stage works, which is given by its variables.

    On Saturday `old` was deployed, and a poll has seen it. On Sunday at 04:00 `latest` is `new`, and
    the pipeline is idle. A second database in the same stack has something new as well.
    """

    def __init__(self, *, two: bool = False, **changes: str) -> None:
        self.aws = aws = InMemoryAws(datetime(2026, 1, 3, 12, tzinfo=UTC))
        self.stage = TWO_IN_ONE_STACK if two else ONE
        self.configure()
        self.set(PIPELINE_NAME, PIPELINE)
        self.set(CURRENT, OLD)
        aws.stacks.add(CURRENT)
        aws.pipelines.pipelines[PIPELINE] = []
        if two:
            self.set(OTHER_CURRENT, arn("docs-old"))
            aws.stacks.add(OTHER_CURRENT, logical_id="Docs")
            docs_old = snapshot("docs-old", created=aws.time, **DOCUMENTS)
            aws.snapshots.all = [snapshot("docs-new", **DOCUMENTS), docs_old]
        aws.time += timedelta(hours=1)
        self.offer("new")
        self.offer("old", created=aws.time - timedelta(days=9))
        self.push()
        aws.pipelines.finish(PIPELINE)
        raised(poll(self.settings, aws))
        aws.time = TWO_O_CLOCK
        self.set(LATEST, NEW)
        if two:
            self.set(OTHER_LATEST, arn("docs-new"))
        aws.time = SUNDAY
        aws.calls.clear()
        self.configure(**changes)

    def configure(self, **changes: str) -> None:
        """Deploy the stage with these variables as well."""
        self.stage = self.stage | changes
        self.settings = Settings.from_environment(self.stage)

    # --- what the functions and people do ---

    def promote(self, scheduled: datetime = SUNDAY) -> Result:
        return promote(self.settings, self.aws, scheduled)

    def refresh(self, by: str = KIM, *, dry_run: bool = False) -> Result:
        return refresh_now(self.settings, self.aws, actor=by, reason="we need it", dry_run=dry_run)

    def pin(
        self, name: str | None, *, deploy: bool = False, reason: str = "", index: int = 0
    ) -> dict[str, Any]:
        asked = {"actor": KIM, "reason": reason, "deploy": deploy, "snapshot": name}
        return pin(self.settings, self.aws, self.settings.databases[index], **asked)

    def rollback(self, *, deploy: bool = True) -> dict[str, Any]:
        return self.pin(None, deploy=deploy)

    def update(self) -> Result:
        return update(self.settings, self.aws, TWO_O_CLOCK)

    def follow_copies(self) -> Result:
        return raised(follow_copies(self.settings, self.aws))

    def reconcile(self) -> Result:
        return raised(reconcile(self.settings, self.aws))

    def polls(self, times: int = 2) -> None:
        """Let `db-reconcile` come by every quarter of an hour."""
        for _ in range(times):
            self.aws.time += timedelta(minutes=15)
            raised(poll(self.settings, self.aws))

    def status(self) -> Any:
        return as_documented("GET", "/status", 200, status(self.settings, self.aws))

    def history(self) -> Any:
        return self.ask("GET", "/snapshots/current/history")[1]["history"]

    def promotion_killed(self, when: str, operation: str, minutes: float = 1) -> None:
        """Let the promotion die before or after a call; the next attempt comes minutes later."""

        def die() -> None:
            raise Killed

        meanwhile(self.aws, when, operation, die)
        with pytest.raises(Killed):
            self.promote()
        calm(self.aws, minutes)

    def ask(
        self, method: str, path: str, body: Any = None, caller: str | None = KIM, media: str = JSON
    ) -> Any:
        """Return the status and the answer of a request that `caller` has signed.

        Whatever is asked: the answer is one that docs/openapi.yaml has, none shows a secret that a
        parameter holds by mistake, and a request that only reads, or is refused, changes nothing.
        """
        text = json.dumps(body).encode() if isinstance(body, dict) else body or b""
        app = Chalice("test")

        @app.middleware("http")
        def verified(request: Request, get_response: Callable[[Request], Response]) -> Response:
            # API Gateway adds it, and Chalice's test client does not.
            if caller:
                request.context["identity"]["userArn"] = caller
            return get_response(request)

        app.register_blueprint(api.routes(self.settings, self.aws))
        with warnings.catch_warnings():
            # Chalice's test client lets everybody in and warns of it; test_openapi.py checks that
            # each route carries the authorizer.
            warnings.simplefilter("ignore")
            headers, before = {"Content-Type": media}, self.everything()
            response = Client(app).http.request(method, path, headers=headers, body=text)
        assert b"secret" not in response.body
        if method == "GET" or 400 <= response.status_code < 500:
            assert self.everything() == before
        answer = json.loads(response.body)
        return response.status_code, as_documented(method, path, response.status_code, answer)

    # --- what happens in the account ---

    def set(self, name: str, value: str) -> None:
        """Put a value outside the application."""
        self.aws.parameters.put_by_hand(name, value)

    def offer(self, name: str, **facts: Any) -> None:
        """Let production share one more snapshot."""
        self.aws.snapshots.all.append(snapshot(name, **facts))

    def push(self) -> str:
        """Let a push start a run, and return its id."""
        return self.aws.pipelines.begin(PIPELINE, "Webhook")

    def run_ends(
        self, status: str = "Succeeded", *, deploys: bool | None = None, minutes: int = 30
    ) -> None:
        """Let the newest run end; by default it deploys if it succeeds."""
        self.aws.time += timedelta(minutes=minutes)
        self.aws.pipelines.finish(PIPELINE, status, deploys=deploys)
        self.aws.time += timedelta(minutes=1)

    def run_is_over(self, status: str = "Succeeded", **run: Any) -> None:
        """Let the newest run end, and the polls see it."""
        self.run_ends(status, **run)
        self.polls()

    # --- what a test looks at ---

    @property
    def values(self) -> dict[str, str]:
        return self.aws.values()

    @property
    def current(self) -> str | None:
        return self.values.get(CURRENT)

    @property
    def started(self) -> list[str]:
        """The runs that were started by StartPipelineExecution."""
        runs = self.aws.pipelines.pipelines[PIPELINE]
        return [run.execution_id for run in runs if run.trigger == "StartPipelineExecution"]

    @property
    def ledger(self) -> list[tuple[str, str]]:
        """The versions of `current` in short: what each is, and which snapshot it names."""
        kept = self.aws.parameters.kept.get(CURRENT, [])
        return [(each.action, each.value.rpartition(":")[2]) for each in kept]

    def present(self, name: str = CURRENT) -> Version:
        return self.aws.parameters.kept[name][-1]

    def good(self, name: str = CURRENT) -> str | None:
        """Return the value that is marked good."""
        kept = self.aws.parameters.kept.get(name, [])
        return next((each.value for each in kept if each.is_good), None)

    def deployed(self, name: str = CURRENT) -> str | None:
        """Return what the cluster was really restored from."""
        return self.aws.stacks.restored_from(name)

    @property
    def subjects(self) -> list[str]:
        """The subjects of the notifications that were sent."""
        return [each.subject.removeprefix("aurora-refresh: ") for each in self.aws.notifier.sent]

    def everything(self) -> dict[str, Any]:
        """Return all that a call may change, to be compared."""
        return {
            "parameters": {name: list(kept) for name, kept in self.aws.parameters.kept.items()},
            "runs": {name: list(runs) for name, runs in self.aws.pipelines.pipelines.items()},
            "snapshots": list(self.aws.snapshots.all),
            "executions": dict(self.aws.state_machines.statuses),
            "sent": list(self.aws.notifier.sent),
        }


# --- answers --------------------------------------------------------------------------------------


def _content(method: str, path: str, status: int) -> Any:
    """Return what docs/openapi.yaml says of an answer."""
    responses = OPERATIONS[method, path.partition("?")[0]]["responses"]
    return resolved(responses[str(status)])["content"][JSON]


@cache
def _validator(method: str, path: str, status: int) -> Any:
    return validator_of(_content(method, path, status)["schema"])


def as_documented(method: str, path: str, status: int, answer: Any) -> Any:
    """Return the answer, which has the documented schema."""
    errors = _validator(method, path, status).iter_errors(answer)
    assert [each.message for each in errors] == []
    return answer


def documented(operation: str) -> Any:
    """Return the example of an operation's answer in docs/openapi.yaml, which thereby is a true one."""
    (route,) = (each for each, found in OPERATIONS.items() if found["operationId"] == operation)
    (example,) = _content(*route, 200)["examples"].values()
    return copy.deepcopy(example["value"])


def about_rds(
    outcome: str, reason: str | None = None, message: str | None = None, /, **entry: Any
) -> dict[str, Any]:
    """Return the JSON of a result that concerns one database."""
    databases = [{"name": "rds", **entry}]
    return {"outcome": outcome, "reason": reason, "message": message, "databases": databases}


def refused(message: str) -> tuple[int, dict[str, str]]:
    return 409, {"Code": "ConflictError", "Message": message}


def malformed(message: str) -> tuple[int, dict[str, str]]:
    return 400, {"Code": "BadRequestError", "Message": message}
