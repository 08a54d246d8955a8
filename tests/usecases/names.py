"""Stages, names and messages that the tests of the use cases share."""

from datetime import UTC, datetime

from tests.fakes import STACK, arn
from tests.stage import STAGE, TWO

SUNDAY = datetime(2026, 1, 4, 4, tzinfo=UTC)
TWO_O_CLOCK = SUNDAY.replace(hour=2)
NEW, OLD = arn("new"), arn("old")
HOLD = "/acceptance/hold"
KIM = "arn:aws:iam::222222222222:user/kim"
SCHEDULE = "the schedule of 2026-01-04 04:00 UTC"
SECRET, HIDDEN = "postgres://admin:secret@db", "something else, 26 characters long"
IN_PROGRESS = "run run-2 has been in progress since 2026-01-04 04:00 UTC"
WAITING = f"{IN_PROGRESS}, waiting for an approval in stage Approve"
REFRESHED = "refreshed in 30 min, data 6 h old (rds)"

ONE = STAGE | {"RDS_STACK_NAME": STACK, "SSM_REFRESH_HOLD_NAME": HOLD}
TWO_IN_ONE_STACK = TWO | {"RDS_STACK_NAME": f"{STACK}/Cluster", "DOCS_STACK_NAME": f"{STACK}/Docs"}
