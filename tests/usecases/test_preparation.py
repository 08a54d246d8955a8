"""After-restore work: a restored cluster is good once its state machine has succeeded."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import GOOD, WORK_DUE
from tests.fakes import STACK
from tests.interruptions import Killed, calm, meanwhile
from tests.stage import CURRENT, PIPELINE
from tests.usecases.names import NEW, OLD, SUNDAY
from tests.usecases.night import Night
from tests.usecases.states import Arrange, at, in_turn

MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"
EXECUTION = "rds-cluster-ID0002"
WORK = "the after-restore work"
NOT_PREPARED = "NOT PREPARED: do not use the data yet (rds)"
FAILED_AFTER = "restored, but the pipeline run failed afterwards (rds)"
READY = "the data is ready, although its pipeline run failed (rds)"


def masked() -> Night:
    """Each restored cluster is masked."""
    return Night(RDS_AFTER_RESTORE=MACHINE)


night = pytest.fixture(masked)


@pytest.fixture
def restored(night: Night) -> Night:
    """Tonight's run has restored the database."""
    night.promote()
    night.run_ends()
    return night


def shown(night: Night) -> tuple[Any, list[str]]:
    found = night.status()
    (facts,) = found["databases"]
    if preparation := facts["preparation"]:
        words = {"prepared": "good", "preparing": "preparing", "not-prepared": "not prepared"}
        assert facts["state"] == words[preparation["state"]]
    return facts["preparation"], found["problems"]


def execution_becomes(night: Night, status: str, polls: int = 2) -> None:
    night.aws.state_machines.statuses[EXECUTION] = status
    night.polls(polls)


def test_the_work_is_started_once_and_the_data_is_good_once_it_is_done(restored: Night) -> None:
    restored.polls(3)
    cluster = restored.aws.clusters.restored["cluster-2"]
    assert restored.aws.state_machines.inputs == {
        EXECUTION: {
            "database": "rds",
            "snapshot": NEW,
            "cluster": cluster.identifier,
            "cluster_arn": cluster.arn,
            "endpoint": cluster.endpoint,
            "port": cluster.port,
            "engine": cluster.engine,
            "secret_arn": cluster.secret_arn,
            "taken": "2026-01-03T22:00:00+00:00",
            "run": "run-2",
        }
    }
    assert (restored.good(), restored.subjects) == (OLD, [])
    preparing = {"state": "preparing", "status": "RUNNING", "execution": f"execution {EXECUTION}"}
    assert shown(restored) == (preparing, [])
    execution_becomes(restored, "SUCCEEDED", polls=3)
    assert restored.subjects == ["refreshed in 91 min, data 8 h old (rds)"]
    assert restored.good() == NEW
    restored.configure(RDS_AFTER_RESTORE="")
    assert shown(restored) == (None, [])


def test_what_was_put_by_hand_is_prepared_even_if_its_age_is_unknown(night: Night) -> None:
    night.aws.refused.append(("find", NEW))
    night.set(CURRENT, NEW)
    night.push()
    night.run_is_over()
    assert night.aws.state_machines.inputs[EXECUTION]["taken"] is None


def test_data_is_not_good_before_a_poll_has_seen_its_cluster(night: Night) -> None:
    """Nor if no poll can remember it."""
    night.configure(RDS_AFTER_RESTORE=MACHINE)
    night.promote()
    night.run_ends()
    assert night.status()["databases"][0]["state"] == "preparing"
    assert night.aws.state_machines.inputs == {}


def test_an_execution_s_name_is_as_long_as_step_functions_takes(restored: Night) -> None:
    (database,) = restored.settings.databases
    named = database._replace(name="a" * 100)
    restored.settings = restored.settings._replace(databases=(named,))
    restored.aws.snapshots.remove(NEW)
    restored.polls()
    assert list(restored.aws.state_machines.inputs) == ["a" * 65 + "-cluster-ID0002"]


@pytest.mark.parametrize(
    ("missing", "notified", "problem"),
    [
        (set(), f"execution {EXECUTION}: FAILED", f"execution {EXECUTION}: FAILED"),
        (
            {MACHINE},
            f"{WORK}: there is no state machine",
            f"{WORK}: could not be started; each poll tries again: check {MACHINE}",
        ),
    ],
)
def test_work_that_fails_or_cannot_be_started_is_notified_each_time_and_done_later(
    restored: Night, missing: set[str], notified: str, problem: str
) -> None:
    machines = restored.aws.state_machines
    machines.missing |= missing
    restored.polls()
    machines.statuses = dict.fromkeys(machines.statuses, "FAILED")
    restored.polls(3)
    assert (restored.current, restored.good(), len(restored.subjects)) == (NEW, OLD, 1)
    assert f"the data is NOT prepared: {notified}" in restored.aws.notifier.sent[0].body
    (found,) = shown(restored)[1]
    assert found.startswith(f"rds: the data is not prepared: {problem}. ")
    machines.missing.clear()
    restored.polls()
    assert list(machines.inputs) == [EXECUTION]
    for state in ("PENDING_REDRIVE", "RUNNING", "TIMED_OUT", "RUNNING", "SUCCEEDED"):
        execution_becomes(restored, state)
    refreshed = "refreshed in 271 min, data 10 h old (rds)"
    assert restored.subjects == [NOT_PREPARED, NOT_PREPARED, refreshed]
    assert restored.good() == NEW


def test_work_that_has_succeeded_is_not_done_again_by_another_state_machine(night: Night) -> None:
    """Not even if the run failed later, so that the version never became good."""
    night.promote()
    night.run_is_over("Failed", deploys=True)
    execution_becomes(night, "SUCCEEDED", polls=2)
    machines = night.aws.state_machines
    machines.inputs.clear()
    machines.statuses.clear()
    night.polls(2)
    assert machines.inputs == {}


@pytest.mark.parametrize(("status", "notified"), [("RUNNING", []), ("FAILED", [NOT_PREPARED])])
def test_a_notification_says_that_data_is_prepared_even_if_the_run_failed_later(
    night: Night, status: str, notified: list[str]
) -> None:
    night.promote()
    night.run_ends("Failed", deploys=True)
    executed = night.aws.pipelines.executed
    executed.append(executed[-1]._replace(stage="Test", name="Test", status="Failed", stack=None))
    night.polls()
    execution_becomes(night, status)
    execution_becomes(night, "SUCCEEDED", polls=3)
    assert night.subjects == [FAILED_AFTER, *notified, READY]
    first, *others, last = (each.body for each in night.aws.notifier.sent)
    assert "in stage Test, action Test" in first
    assert not any("in stage" in each for each in others)
    assert ("NOT prepared yet" in first, "the data is prepared" in last) == (True, True)
    assert ["data 6.5 hours old" in each for each in (first, last)] == [True, True]  # when it ended
    assert night.history()[0]["result"] == "failed-after-restore"


@pytest.mark.parametrize("status", ["SUCCEEDED", "RUNNING"])
def test_a_run_that_fails_during_preparation_is_notified_once(night: Night, status: str) -> None:
    """Also if the function is killed before it notifies, or the setting is removed then."""

    def die() -> None:
        raise Killed

    night.promote()
    night.aws.pipelines.deploy(PIPELINE)
    night.polls()
    execution_becomes(night, status)
    night.run_ends("Failed", deploys=False)
    meanwhile(night.aws, "before", "_publish", die)
    with pytest.raises(Killed):
        night.polls(1)
    calm(night.aws)
    night.polls()
    night.configure(RDS_AFTER_RESTORE="")
    night.polls(3)
    assert night.subjects == [FAILED_AFTER]


def restored_without(night: Night) -> None:
    """The setting comes after a restore whose run failed later."""
    night.configure(RDS_AFTER_RESTORE="")
    night.promote()
    night.run_is_over("Failed", deploys=True)
    night.configure(RDS_AFTER_RESTORE=MACHINE)


def never_seen(night: Night) -> None:
    """The cluster was restored before this application was there."""
    night.aws.parameters.kept[CURRENT] = [night.present()._replace(labels=frozenset())]


def called_good(night: Night) -> None:
    """Somebody who may label versions, or the first edition, has called it good."""
    night.promote()
    night.run_ends()
    night.aws.parameters.label(CURRENT, 2, {GOOD})


def seen_late(night: Night) -> None:
    """It could not be seen for days what the run had restored."""
    night.run_ends()
    night.aws.stacks.set_status("UPDATE_ROLLBACK_FAILED")
    night.aws.time += timedelta(days=2)
    night.polls()
    night.aws.stacks.set_status("UPDATE_COMPLETE")


def restored_anew_late(night: Night) -> None:
    night.aws.stacks.replaces = True
    night.push()
    seen_late(night)


IN_USE: dict[str, Arrange] = {
    "restored without the setting": restored_without,
    "never seen for a day": in_turn(never_seen, at(SUNDAY + timedelta(days=1))),
    "made by hand": in_turn(never_seen, lambda night: night.aws.pipelines.executed.clear()),
    "called good for days": in_turn(called_good, at(SUNDAY + timedelta(days=5))),
}
DUE: dict[str, Arrange] = {
    "never seen": never_seen,
    "called good": called_good,
    "restored, seen late": in_turn(Night.promote, seen_late),
    "restored anew, seen late": restored_anew_late,
}


@pytest.mark.parametrize("cluster", [*IN_USE, *DUE])
def test_work_is_due_on_a_new_cluster_unless_it_is_in_use(night: Night, cluster: str) -> None:
    """A cluster is new when the setting sees it first."""
    (IN_USE | DUE)[cluster](night)
    night.polls(3)
    assert bool(night.aws.state_machines.inputs) == (cluster in DUE)
    assert cluster in DUE or shown(night)[0] is None


def test_work_is_not_due_once_the_setting_is_gone(restored: Night) -> None:
    restored.aws.state_machines.missing.add(MACHINE)
    restored.polls()
    for machine in ("", f"{MACHINE}-2"):
        restored.configure(RDS_AFTER_RESTORE=machine)
        restored.polls(3)
        assert (restored.good(), restored.aws.state_machines.inputs) == (NEW, {})


def test_work_that_was_started_counts_even_if_none_is_due(restored: Night) -> None:
    """An earlier edition started it."""
    restored.polls()
    restored.aws.parameters.unlabel(CURRENT, 2, {WORK_DUE})
    execution_becomes(restored, "FAILED")
    assert (restored.good(), restored.subjects) == (OLD, [NOT_PREPARED])


UNKNOWN = {"state": "preparing", "status": "unknown", "execution": None}
GONE = "failed or not seen to run, and its record is no longer kept"
LOST = {"state": "not-prepared", "status": GONE, "execution": None}


@pytest.mark.parametrize(
    ("work", "good", "preparation"),
    [(["FAILED", "SUCCEEDED"], NEW, None), (["FAILED"], OLD, LOST), (["RUNNING"], OLD, LOST)],
)
def test_work_that_step_functions_has_forgotten_is_not_repeated(
    restored: Night, work: list[str], good: str, preparation: object
) -> None:
    restored.polls()
    for status in work:
        execution_becomes(restored, status)
    subjects, machines = restored.subjects, restored.aws.state_machines
    restored.aws.time += timedelta(days=90)
    machines.statuses, machines.inputs = {}, {}
    restored.polls()
    assert (restored.good(), shown(restored)[0]) == (good, preparation)
    told = subjects or [NOT_PREPARED]  # now at the latest
    assert (restored.subjects, machines.inputs) == (told, {})


@pytest.mark.parametrize("operation", ["start", "execution"])
def test_work_that_cannot_be_seen_hinders_nothing_else(restored: Night, operation: str) -> None:
    restored.aws.refused = [(operation, MACHINE)]
    restored.offer("third")
    restored.pin("third", deploy=True)
    restored.run_ends("Failed")
    with pytest.raises(AwsError, match=f"^{operation} of {MACHINE} failed"):
        restored.polls()
    assert (restored.current, restored.good()) == (NEW, OLD)
    assert restored.subjects == ["REFRESH FAILED: pipeline run failed, reverted (rds)"]
    status = restored.status()
    (found,) = status["databases"]
    if operation == "start":
        assert found["preparation"] == UNKNOWN
    else:  # the rest of the status is there
        assert (found["preparation"], found["age_hours"]) == (UNKNOWN, 7.3)
        message = f"rds: execution of {MACHINE} failed: AccessDeniedException: no."
        assert message in status["problems"]


def test_good_data_stays_good_when_its_work_cannot_be_seen(restored: Night) -> None:
    execution_becomes(restored, "SUCCEEDED")
    restored.polls()
    restored.aws.refused = [("execution", MACHINE)]
    (found,) = restored.status()["databases"]
    assert (found["preparation"], found["good"], found["state"]) == (None, True, "good")


def test_a_cluster_that_no_run_has_restored_is_notified_and_not_prepared(night: Night) -> None:
    """The after-restore work is not started, because the cluster may be in use."""
    night.polls()
    assert shown(night) == (None, [])  # it was there before
    night.pin("new")
    night.aws.time += timedelta(hours=1)
    night.aws.stacks.deploy(STACK)  # from somebody's machine
    night.polls(3)
    assert night.aws.state_machines.inputs == {}
    assert night.subjects == [NOT_PREPARED]
    assert "no run of the pipeline restored the cluster" in shown(night)[1][0]
