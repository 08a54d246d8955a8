"""After-restore work: a restored cluster is good once its state machine has succeeded."""

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import promote
from chalicelib.usecases.status import status
from tests.fakes import InMemoryAws, arn
from tests.usecases.conftest import SUNDAY, WITH_STACK, ends, good, ledger, polls, subjects

MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"
EXECUTION = "rds-cluster-ID0002"
REFRESHED = "refreshed in 30 min, data 6 h old (rds)"


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment(WITH_STACK | {"RDS_AFTER_RESTORE": MACHINE})


@pytest.fixture
def restored(settings: Settings, aws: InMemoryAws) -> InMemoryAws:
    """Tonight's run has restored the database."""
    promote(settings, aws, SUNDAY)
    ends(aws)
    return aws


def shown(settings: Settings, aws: InMemoryAws) -> tuple[object, list[str]]:
    found = status(settings, aws)
    return found["databases"][0]["preparation"], found["problems"]


def test_a_cluster_that_was_there_before_is_not_prepared(
    settings: Settings, aws: InMemoryAws
) -> None:
    polls(settings, aws)
    assert aws.state_machines.inputs == {}
    assert shown(settings, aws) == (None, [])


def test_the_work_is_started_once_with_what_it_needs_and_the_data_is_good_once_it_is_done(
    settings: Settings, restored: InMemoryAws
) -> None:
    polls(settings, restored, times=3)
    cluster = restored.clusters.restored["cluster-2"]
    assert restored.state_machines.inputs == {
        EXECUTION: {
            "database": "rds",
            "snapshot": arn("new"),
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
    assert (good(restored), subjects(restored)) == (arn("old"), [])
    preparing = {"state": "preparing", "status": "RUNNING", "execution": f"execution {EXECUTION}"}
    assert shown(settings, restored) == (preparing, [])
    restored.state_machines.statuses[EXECUTION] = "SUCCEEDED"
    polls(settings, restored, times=3)
    assert (good(restored), subjects(restored)) == (arn("new"), [REFRESHED])


def test_an_execution_s_name_is_as_long_as_step_functions_takes(
    settings: Settings, restored: InMemoryAws
) -> None:
    (database,) = settings.databases
    named = settings._replace(databases=(database._replace(name="a" * 100),))
    polls(named, restored)
    (name,) = restored.state_machines.inputs
    assert name == "a" * 62 + "-cluster-ID0002".rjust(18, "a")[-18:]
    assert len(name) == 80


@pytest.mark.parametrize("ended", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_work_that_fails_is_told_once_and_loudly_and_a_redrive_completes_it(
    settings: Settings, restored: InMemoryAws, ended: str
) -> None:
    polls(settings, restored)
    restored.state_machines.statuses[EXECUTION] = ended
    polls(settings, restored, times=3)
    assert ledger(restored)[-1] == ("promote", "new")
    assert (good(restored), len(subjects(restored))) == (arn("old"), 1)
    message = f"the data is NOT prepared: execution {EXECUTION}: {ended}"
    assert message in restored.notifier.sent[0].body
    (problem,) = shown(settings, restored)[1]
    assert problem.startswith(f"rds: the data is not prepared: execution {EXECUTION} is {ended}. ")
    for state in ("PENDING_REDRIVE", "RUNNING", "SUCCEEDED"):
        restored.state_machines.statuses[EXECUTION] = state
        polls(settings, restored)
    assert (good(restored), subjects(restored)[1:]) == (arn("new"), [REFRESHED])


def test_a_state_machine_that_does_not_exist_is_told_once_and_completed_once_it_does(
    settings: Settings, restored: InMemoryAws
) -> None:
    restored.state_machines.missing.add(MACHINE)
    polls(settings, restored, times=3)
    assert len(subjects(restored)) == 1
    assert f"there is no state machine {MACHINE}" in restored.notifier.sent[0].body
    restored.state_machines.missing.clear()
    polls(settings, restored)
    restored.state_machines.statuses[EXECUTION] = "SUCCEEDED"
    polls(settings, restored)
    assert good(restored) == arn("new")


def test_a_run_that_failed_after_the_restore_has_its_cluster_prepared_all_the_same(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    ends(aws, "Failed", deploys=True)
    polls(settings, aws)
    assert list(aws.state_machines.inputs) == [EXECUTION]


def test_the_work_starts_without_the_age_of_a_snapshot_that_cannot_be_looked_up(
    settings: Settings, restored: InMemoryAws
) -> None:
    def find(value: str) -> None:
        raise AwsError("DescribeDBClusterSnapshots", value, "AccessDenied", "no")

    restored.snapshots.find = find  # type: ignore[method-assign, assignment]
    polls(settings, restored)
    assert restored.state_machines.inputs[EXECUTION]["taken"] is None
