"""The scheduled runs, night after night, with every call weighed against the function's own role."""

import uuid
from datetime import timedelta
from time import sleep

import pytest

from localcloud.accounts import ACCEPTANCE, STRANGER
from localcloud.company import arn_of, nightly
from tests.e2e.conftest import RESTORE, UPDATE, Night

PROMOTION = (
    "ssm:GetParameters",
    "rds:DescribeDBClusterSnapshots",
    "ssm:GetParameterHistory",
    "codepipeline:ListPipelineExecutions",
    "cloudformation:DescribeStacks",
    "cloudformation:ListStackResources",
    "rds:DescribeDBClusters",
    "ssm:PutParameter",
    "codepipeline:StartPipelineExecution",
)


def test_production_s_newest_data_replaces_the_acceptance_cluster(night: Night) -> None:
    before = night.company.clusters()

    updated = night.update()
    (restored,) = night.restore()

    assert (updated["outcome"], updated["databases"][0]["latest"]) == ("updated", night.new)
    assert (restored["payload"]["outcome"], night.current()) == ("started", night.new)
    (run,) = night.runs()
    assert (run["pipelineExecutionId"], run["status"]) == (
        restored["payload"]["execution_id"],
        "Succeeded",
    )
    after = night.company.clusters()
    assert list(after.values()) == [night.new]
    assert not before.keys() & after.keys()


def test_a_successful_run_is_marked_good_and_told(night: Night) -> None:
    night.update()
    night.restore()
    night.runs()
    assert night.company.good() == night.new
    (subject,) = night.subjects()
    assert subject.startswith("aurora-refresh: refreshed in ")
    assert subject.endswith(" (rds)")


def test_a_failed_run_is_taken_back_and_told(night: Night) -> None:
    night.update()
    night.cloud.patch_pipeline("acceptance-main", next_outcomes=["Failed"])
    night.restore()
    (run,) = night.runs()
    assert run["status"] == "Failed"
    assert night.current() == night.old
    assert night.subjects() == [
        "aurora-refresh: REFRESH FAILED: pipeline run failed, taken back (rds)"
    ]


def test_a_failed_run_does_not_come_back_with_the_next_ordinary_deployment(night: Night) -> None:
    before = night.company.clusters()
    night.update()
    night.cloud.patch_pipeline("acceptance-main", next_outcomes=["Failed"])
    night.restore()
    night.runs()
    night.cloud.set_clock(night.two.replace(hour=12))
    night.cloud.client("codepipeline").start_pipeline_execution(name="acceptance-main")
    assert {run["status"] for run in night.runs()} == {"Failed", "Succeeded"}
    assert night.company.clusters() == before


def test_a_night_costs_few_calls(night: Night) -> None:
    night.update()
    night.restore()
    assert night.calls(UPDATE) == [
        "rds:DescribeDBClusterSnapshots",
        "ssm:GetParameters",
        "ssm:PutParameter",
    ]
    assert night.calls(RESTORE) == [*PROMOTION]


def test_what_strangers_share_is_not_taken(night: Night) -> None:
    later = night.two - timedelta(minutes=5)
    hostile = nightly("orders", later, account=STRANGER, identifier="orders-newest")
    half_made = nightly(
        "orders", later, identifier=f"made-{later:%d}", status="creating", created=None
    )
    night.cloud.seed_snapshots([hostile, half_made])
    assert night.update()["databases"][0]["latest"] == night.new


def test_snapshots_of_other_kinds_of_clusters_in_the_same_listing_are_not_taken(
    night: Night,
) -> None:
    later = night.two - timedelta(minutes=5)
    others = (
        {"engine": "postgres"},  # a Multi-AZ cluster
        {"engine": "mysql", "engine_version": "8.0.35"},
        {"engine_version": "15.6-limitless"},
        {"engine_version": "10.serverless_7"},
    )
    night.cloud.seed_snapshots(
        [
            nightly("orders", later, identifier=f"other-{number}-{later:%d-%H}", **kind)
            for number, kind in enumerate(others)
        ]
    )
    assert night.update()["databases"][0]["latest"] == night.new


def test_a_hostile_value_in_latest_is_not_restored(night: Night) -> None:
    hostile = nightly("orders", night.two, account=STRANGER, identifier="orders-trojan")
    night.cloud.seed_snapshots([hostile])
    night.cloud.client("ssm").put_parameter(
        Name=night.company.latest, Value=arn_of(hostile), Overwrite=True
    )
    (record,) = night.restore()
    assert (record["payload"]["outcome"], record["payload"]["reason"]) == (
        "failed",
        "not-eligible",
    )
    assert (night.current(), night.runs()) == (night.old, [])


def test_a_share_withdrawn_between_two_and_four_is_not_restored(night: Night) -> None:
    night.update()
    night.cloud.patch_snapshot(night.new, shared_with=[])
    (record,) = night.restore()
    assert (record["payload"]["outcome"], record["payload"]["reason"]) == (
        "failed",
        "snapshot-gone",
    )
    night.cloud.patch_snapshot(night.new, shared_with=[ACCEPTANCE])
    assert (night.current(), night.runs()) == (night.old, [])


def test_a_throttled_call_is_tried_again_within_the_invocation(night: Night) -> None:
    night.update()
    night.cloud.set_faults([{"operation": "ssm:PutParameter", "kind": "throttle", "times": 2}])
    (record,) = night.restore()
    assert record["payload"]["outcome"] == "started"
    assert len(night.runs()) == 1


def test_a_pipeline_that_cannot_be_started_leaves_the_old_value_and_three_attempts(
    night: Night,
) -> None:
    night.update()
    night.cloud.set_faults(
        [{"operation": "codepipeline:StartPipelineExecution", "kind": "deny", "times": 0}]
    )
    records = night.restore()
    assert [record["status"] for record in records] == ["failed"] * 3
    assert records[0]["error"]["errorType"] == "AwsError"
    assert records[0]["error"]["errorMessage"].startswith(
        "StartPipelineExecution of pipeline acceptance-main failed: AccessDeniedException: "
    )
    assert (night.current(), night.runs()) == (night.old, [])


def test_a_retry_completes_what_the_first_attempt_undid(night: Night) -> None:
    night.update()
    night.cloud.set_faults(
        [{"operation": "codepipeline:StartPipelineExecution", "kind": "deny", "times": 1}]
    )
    first, second = night.restore()
    assert (first["status"], second["payload"]["outcome"]) == ("failed", "started")
    assert night.current() == night.new
    assert len(night.runs()) == 1


def test_an_answer_lost_on_the_way_back_starts_no_second_run(night: Night) -> None:
    night.update()
    night.cloud.set_faults(
        [{"operation": "codepipeline:StartPipelineExecution", "kind": "timeout-after", "times": 1}]
    )
    (record,) = night.restore()
    assert record["payload"]["outcome"] == "started"
    assert night.current() == night.new
    assert len(night.runs()) == 1


@pytest.mark.parametrize("operation", PROMOTION)
@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_a_promotion_killed_at_any_call_is_completed_by_the_retry(
    night: Night, kind: str, operation: str
) -> None:
    """A real SIGKILL of the runtime client's process, before and after each AWS call."""
    night.update()
    night.cloud.set_faults(
        [{"function": RESTORE, "operation": operation, "kind": kind, "times": 1}]
    )
    first, *_, last = night.restore()
    assert (first["status"], first["error"]["errorType"]) == ("failed", "Runtime.ExitError")
    assert last["status"] == "succeeded"
    assert night.current() == night.new
    assert len(night.runs()) == 1


@pytest.mark.parametrize("same_id", [True, False])
def test_an_event_delivered_twice_at_once_starts_one_run(night: Night, same_id: bool) -> None:
    night.update()
    night.cloud.set_clock(night.four)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    for event_id in (first, first if same_id else second):
        night.cloud.fire(RESTORE, night.four, event_id=event_id, wait=False)
    night.cloud.wait_until_idle()
    records = [
        record
        for record in night.cloud.invocations(RESTORE)
        if record["event_id"] in (first, second)
    ]
    assert sorted(
        (record["payload"]["outcome"], record["payload"]["reason"]) for record in records
    ) == [("skipped", "nothing-new"), ("started", None)]
    assert len(night.runs()) == 1
    assert night.current() == night.new


def test_an_event_delivered_again_after_its_run_starts_no_other(night: Night) -> None:
    night.update()
    night.restore()
    night.runs()
    (again,) = night.restore()
    assert again["payload"]["reason"] == "nothing-new"
    assert len(night.runs()) == 1


def test_a_killed_promotion_whose_retry_comes_too_late_is_taken_back(night: Night) -> None:
    """Or the next ordinary deployment, at noon, would replace the cluster."""
    before = night.company.clusters()
    night.update()
    at_the_edge = night.two.replace(hour=6, minute=59)
    night.cloud.set_clock(at_the_edge)
    night.cloud.set_retries([3, 0.05])
    night.cloud.set_faults(
        [{"function": RESTORE, "operation": "ssm:PutParameter", "kind": "kill-after", "times": 1}]
    )
    night.cloud.fire(RESTORE, at_the_edge, event_id=str(uuid.uuid4()), wait=False)
    while night.current() == night.old:
        sleep(0.05)
    night.cloud.set_clock(night.two.replace(hour=7, minute=1))
    night.cloud.wait_until_idle()
    assert night.cloud.invocations(RESTORE)[-1]["payload"]["reason"] == "outside-window"
    assert night.current() == night.old
    night.cloud.set_clock(night.two.replace(hour=12))
    night.cloud.client("codepipeline").start_pipeline_execution(name="acceptance-main")
    night.runs()
    assert night.company.clusters() == before


# The last one: it leaves its shares behind.
def test_two_thousand_shares_are_read_in_twenty_calls(night: Night) -> None:
    mixture = [
        nightly(
            ("orders", "billing")[number % 2],
            night.two - timedelta(days=30, minutes=number),
            identifier=f"bulk-{number}",
        )
        for number in range(1990)
    ]
    listed = night.cloud.client("rds").get_paginator("describe_db_cluster_snapshots")
    pages = listed.paginate(SnapshotType="shared", IncludeShared=True)
    there = sum(len(page["DBClusterSnapshots"]) for page in pages)
    night.cloud.seed_snapshots(mixture[: 2000 - there])
    night.cloud.clear_calls()

    assert night.update()["databases"][0]["latest"] == night.new

    calls = night.calls(UPDATE)
    assert calls.count("rds:DescribeDBClusterSnapshots") == 20
    assert sum(call.startswith("ssm:") for call in calls) <= 2
