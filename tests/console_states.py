"""What a deployed API answers in the console's states, and a client that answers it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cli.errors import ApiError

Json = dict[str, Any]

NOW = datetime(2026, 11, 28, 14, 0, tzinfo=UTC)
OMAR = "arn:aws:sts::222222222222:assumed-role/refresh-operator/omar"
RUN = "6cd57302-83d5-495c-b50a-a30bff46bd51"


def at(**before: float) -> str:
    return (NOW - timedelta(**before)).isoformat(timespec="seconds")


def nightly(database: str, days: float) -> str:
    """The ARN of the snapshot that was taken so many nights ago."""
    name = f"{database}-{NOW - timedelta(days=days):%Y-%m-%d}"
    return f"arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:{name}"


def database(name: str, days: int, **facts: Any) -> Json:
    """A database on data that was taken so many nights ago."""
    return {
        "name": name,
        "stack": "acceptance-data",
        "latest": nightly(name, 1),
        "current": nightly(name, days),
        "previous": nightly(name, days + 14),
        "deployed": nightly(name, days),
        "deployed_since": at(days=days - 0.6),
        "preparation": None,
        "created": at(days=days, hours=-8),
        "age_hours": days * 24.0 - 8,
        "since": at(days=days - 0.5),
        "by": "the schedule of 2026-11-15 04:00 UTC",
        "why": "newest eligible share",
        "waiting": False,
        "restoring": None,
        "blocks_refresh": False,
        "state": "good",
        **facts,
    }


def version(number: int, database: str, taken: float, days: float, **facts: Any) -> Json:
    return {
        "version": number,
        "snapshot": nightly(database, taken),
        "created": at(days=taken, hours=-8),
        "set": at(days=days),
        "action": "promote",
        "by": "the schedule of 2026-11-15 04:00 UTC",
        "why": "newest eligible share",
        "good": False,
        "result": "refreshed",
        "run": {"status": "Succeeded", "updated": at(days=days, minutes=-40)},
        **facts,
    }


def share(name: str, days: int, **facts: Any) -> Json:
    return {
        "arn": nightly(name, days),
        "created": at(days=days, hours=-8),
        "cluster": name,
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "eligible": True,
        "reason": None,
        "detail": None,
        "chosen": days == 1,
        **facts,
    }


class FakeClient:
    """Answers as the API does in one state, and records what it is asked to change."""

    name = stage = "acceptance"
    region = "eu-west-1"

    def __init__(self, *databases: Json, **status: Any) -> None:
        self.calls: list[Any] = []
        last_run = {"execution_id": RUN, "status": "Succeeded", "updated": at(days=13.37)}
        self.answers: dict[str, Any] = {  # or the error that is raised
            "identity": {"Account": "222222222222", "Arn": OMAR},
            "status": {
                "databases": list(databases),
                "hold": None,
                "schedule": {
                    "now": NOW.isoformat(),
                    "window": "00:00-07:00 UTC",
                    "next_restore": at(hours=-14),
                    "max_age_days": 14,
                },
                "pipeline": {"name": "acceptance-main", "last_run": last_run, "under_way": None},
                "problems": [],
                **status,
            },
            "history": self._history,
            "snapshots": self._snapshots,
            "pin": self._moved,
            "rollback": self._moved,
            "refresh": {
                "outcome": "started",
                "dry_run": False,
                "databases": [{"name": "orders"} | self._moved()],
                "execution_id": RUN,
                "steps": [{"step": "week", "verdict": "passed", "detail": "any week will do"}],
            },
            "hold": {
                "hold": {"until": "2026-12-03"},
                "next_restore": "2026-12-06T04:00:00+00:00",
                "under_way": f"run 7 restores {nightly('orders', 1)}",
            },
            "begin_session": None,
            "resume": {"hold": None, "next_restore": None, "under_way": None},
        }

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if name not in ("identity", "status", "history", "snapshots"):
                self.calls.append((name, *arguments, named))
            answer = self.answers[name]
            if isinstance(answer, ApiError):
                raise answer
            return answer(*arguments, **named) if callable(answer) else answer

        return call

    def _moved(self, *, deploy: bool = False, **_options: str) -> Json:
        moved = {"current": nightly("orders", 1), "previous": nightly("orders", 7), "version": 5}
        return moved | {"execution_id": RUN if deploy else None, "under_way": None}

    def _history(self, database: str) -> Json:
        databases = self.answers["status"]["databases"]
        (facts,) = (each for each in databases if each["name"] == database)
        days = round(facts["age_hours"] / 24)
        failed = {"result": "run-failed", "action": "refresh", "by": OMAR, "why": "compare"}
        versions = [
            version(5, database, days, days - 0.6, good=True),
            version(4, database, days + 3, days + 12, **failed),
            *(version(4 - i, database, days + 14 * i, days + 13.4 * i) for i in (1, 2, 3)),
        ]
        return {"history": versions}

    def _snapshots(self, database: str) -> Json:
        why = {"reason": "version", "detail": "engine version 16.1, wanted 15"}
        rejected = share(f"{database}-next", 1, eligible=False, **why)
        shares = [*(share(database, days) for days in range(1, 90)), rejected]
        return {"snapshots": shares, "omitted": 0, "message": None}


def healthy() -> FakeClient:
    return FakeClient(database("orders", 7), database("billing", 7), database("documents", 1))


def attention() -> FakeClient:
    """One database is too old, one waits for a run, and one is being restored."""
    new = nightly("orders", 1)
    moved = {"current": new, "previous": nightly("orders", 14), "by": OMAR}
    moved |= {"restoring": new, "state": "restoring"}
    too_old = (
        "the deployed data is more than 16 days old; the limit is 14 days. Refresh once a newer snapshot is "
        "shared, or pin one and deploy it now. Until then, no other database is refreshed either."
    )
    client = FakeClient(
        database("orders", 14, **moved),
        database("billing", 17, latest=nightly("billing", 17), state="stale", blocks_refresh=True),
        database("documents", 3),
        problems=[f"billing: {too_old}"],
    )
    client.answers["status"]["pipeline"]["under_way"] = {
        "execution_id": RUN,
        "started": at(minutes=23),
        "stage": "Deploy",
        "action": "Database",
        "waits_for": None,
        "restores": f"orders from {nightly('orders', 1)}",
    }
    return client


def fresh() -> FakeClient:
    """A stage on which nothing has happened."""
    unset: Json = dict.fromkeys(database("orders", 1))
    known = {"name": "orders", "stack": "acceptance-data", "waiting": False, "state": "empty"}
    client = FakeClient(unset | known)
    client.answers["status"]["pipeline"]["last_run"] = None
    client.answers["history"] = {"history": []}
    return client


def denied() -> FakeClient:
    who = f"User: {OMAR} is not authorized to perform: execute-api:Invoke on resource: "
    what = "arn:aws:execute-api:eu-west-1:********2222:a1b2c3d4e5/api/GET/status"
    client = healthy()
    client.answers["status"] = ApiError(403, "AccessDeniedException", who + what)
    return client
