"""Reconcile: `current` is brought in line with what is deployed, with events or without."""

from datetime import timedelta
from functools import partial

import pytest

from chalicelib.domain.deployment import PREPARES_CHANGE_SET, Action, Cluster, Stack
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import GOOD, Note
from chalicelib.domain.results import Result
from chalicelib.usecases.current import put
from chalicelib.usecases.reconcile import reconcile
from tests.fakes import STACK, arn
from tests.interruptions import calm, meanwhile, raised, refuse
from tests.stage import CURRENT, OTHER_CURRENT, PIPELINE, PIPELINE_NAME
from tests.usecases.names import KIM, NEW, OLD, REFRESHED, SCHEDULE
from tests.usecases.night import Night, about_rds
from tests.usecases.states import Arrange, no_stack, stack_in, without

RUN_FAILED = "REFRESH FAILED: pipeline run failed, reverted (rds)"
NOTHING_RESTORED = "REFRESH FAILED: the run restored nothing, reverted (rds)"
FAILED_AFTER = "restored, but the pipeline run failed afterwards (rds)"
DIFFERS = "the deployed data is not what was expected (rds)"
UNKNOWN = "cannot see what is deployed (rds)"

BEFORE = ("unknown", "old")
PROMOTED = [BEFORE, ("promote", "new")]
REVERTED = [*PROMOTED, ("revert", "old")]


def by_event(night: Night) -> Result:
    return raised(reconcile(night.settings, night.aws, PIPELINE))


def facts(night: Night) -> tuple[object, ...]:
    """Return the ledger, what is deployed, what is good, and the notifications."""
    return night.ledger, night.deployed(), night.good(), night.subjects


# --- the table: how the run ended, and whether it restored ----------------------------------------


@pytest.mark.parametrize(
    ("ended", "restored", "expected"),
    [
        ("Succeeded", True, (PROMOTED, NEW, NEW, [REFRESHED])),
        ("Succeeded", False, (REVERTED, OLD, OLD, [NOTHING_RESTORED])),
        ("Failed", True, (PROMOTED, NEW, OLD, [FAILED_AFTER])),
        ("Stopped", False, (REVERTED, OLD, OLD, [RUN_FAILED])),
    ],
)
@pytest.mark.parametrize("learn", [by_event, Night.polls], ids=["event", "poll alone"])
def test_a_run_is_judged_by_its_end_and_by_what_is_deployed(
    promoted: Night, ended: str, restored: bool, expected: tuple[object, ...], learn: Arrange
) -> None:
    promoted.run_ends(ended, deploys=restored)
    for _ in range(2):
        learn(promoted)
        assert facts(promoted) == expected


def test_the_same_data_restored_anew_is_a_refresh_of_its_own(promoted: Night) -> None:
    """However often that happens, its version bears the labels of the newest cluster alone."""
    promoted.aws.parameters.label(CURRENT, 2, {"somebodys"})
    promoted.aws.stacks.replaces = True
    for _ in range(5):
        promoted.run_is_over()
        promoted.push()
    labels = {"cluster-ID0006", "run-run-6", "notified-refreshed", "good", "somebodys"}
    assert promoted.present().labels == labels
    assert len(promoted.subjects) == 5


def test_a_first_refresh_of_all_is_notified(night: Night) -> None:
    without(CURRENT)(night)
    night.aws.stacks.all[STACK] = Stack("CREATE_COMPLETE", {}, {})
    night.promote()
    night.run_is_over()
    assert facts(night) == ([("promote", "new")], NEW, NEW, [REFRESHED])


def test_without_a_stack_a_deploy_of_the_same_data_is_no_refresh(night: Night) -> None:
    """It replaces no cluster, as far as can be seen."""
    night.configure(RDS_STACK_NAME="")
    night.pin("old", deploy=True)
    night.run_is_over()
    assert (night.good(), night.subjects) == (OLD, [])
    night.promote()
    night.run_is_over()
    subjects = [each.partition(",")[0] for each in night.subjects]
    assert (night.good(), subjects) == (NEW, ["refreshed in 30 min"])


def test_a_missing_stack_counts_as_undeployed_although_another_stack_was_deployed(
    promoted: Night,
) -> None:
    kept, now = promoted.aws.parameters.kept, promoted.aws.time
    kept[CURRENT] = [each._replace(labels=frozenset()) for each in kept[CURRENT]]
    promoted.aws.pipelines.executed = [
        Action("run-2", "Deploy", stack, status, now, now, "Deploy", stack)
        for stack, status in ((STACK, "Failed"), ("network", "Succeeded"))
    ]
    no_stack(promoted)
    promoted.run_is_over("Failed")
    assert promoted.current == OLD


def test_a_success_is_returned_with_its_duration_and_the_age_of_the_data(promoted: Night) -> None:
    promoted.run_ends()
    message = "run run-2 of pipeline acceptance-main succeeded"
    about = {"version": 2, "by": SCHEDULE, "why": "newest eligible share", "execution_id": "run-2"}
    values = {"latest": NEW, "current": NEW, "previous": NEW}
    timed = {"duration_minutes": 30.0, "age_hours": 6.5}
    succeeded = {"outcome": "succeeded", "message": message, **about, **values, **timed}
    assert by_event(promoted).to_json() == about_rds("succeeded", None, message, **succeeded)


def test_a_failure_is_returned_with_its_action_and_written_into_the_ledger(promoted: Night) -> None:
    promoted.aws.pipelines.deploy(PIPELINE, "Failed")
    promoted.run_ends("Failed")
    message = "run run-2 of pipeline acceptance-main restored nothing, and ended as Failed"
    (entry,) = promoted.reconcile().databases
    assert (entry.outcome, entry.reason) == ("failed", "run-failed")
    assert entry.message == f"{message}, in stage Deploy, action Deploy"
    assert (entry.current, entry.previous, entry.taken_back) == (OLD, NEW, True)
    assert promoted.present().note == Note("revert", "db-reconcile", message)
    assert (entry.by, entry.why) == (SCHEDULE, "newest eligible share")


# --- whose run it is ------------------------------------------------------------------------------


def test_a_value_without_a_run_is_reverted_after_the_start_deadline(night: Night) -> None:
    night.promotion_killed("after", "put", minutes=10)
    assert night.reconcile().message == "everything is in line"
    assert night.ledger == PROMOTED
    night.aws.time += timedelta(minutes=6)
    night.reconcile()
    assert facts(night) == (REVERTED, OLD, OLD, [RUN_FAILED])
    body = night.aws.notifier.sent[0].body
    assert "no run of pipeline acceptance-main was started for this value" in body


def test_the_end_of_another_pipelines_run_is_ignored(promoted: Night) -> None:
    promoted.run_ends("Failed")
    result = reconcile(promoted.settings, promoted.aws, "another")
    assert (result.outcome, result.reason) == ("ignored", None)
    assert result.message == "another is not the main pipeline"
    assert promoted.aws.calls == ["get"]


def test_without_the_pipeline_nothing_is_moved(promoted: Night) -> None:
    promoted.run_ends("Failed")
    promoted.set(PIPELINE_NAME, "gone")
    before = promoted.everything()
    result = reconcile(promoted.settings, promoted.aws)
    assert (result.outcome, result.reason) == ("ignored", "pipeline-missing")
    # The alarm stays on until it is mended.
    assert "there is no pipeline named gone" in str(result.errors[0])
    assert promoted.everything() == before


def test_a_value_that_somebody_puts_by_hand_is_notified_once_it_is_restored(night: Night) -> None:
    night.set(CURRENT, NEW)
    night.push()
    night.run_is_over()
    assert facts(night) == ([BEFORE, ("unknown", "new")], NEW, NEW, [REFRESHED])
    assert 'set by unknown ("unknown")' in night.aws.notifier.sent[0].body
    assert night.aws.notifier.sent[0].thread == "unknown"


def test_current_is_set_to_the_deployed_snapshot_unless_a_pin_waits(promoted: Night) -> None:
    """A run that had read the value before it was reverted has restored it."""
    promoted.run_is_over("Failed")
    restored = {"Cluster": promoted.aws.clusters.restore(NEW)}
    promoted.aws.stacks.all[STACK] = Stack("UPDATE_COMPLETE", restored, {CURRENT: NEW})
    promoted.polls(3)
    assert facts(promoted) == ([*REVERTED, ("align", "new")], NEW, OLD, [RUN_FAILED, DIFFERS])
    why = f"{NEW} is deployed, but current named another snapshot"
    assert promoted.present().reason == why


# --- what cannot be seen --------------------------------------------------------------------------


def clusters(**found: str) -> Arrange:
    """Let the stack show these clusters."""
    return lambda night: night.aws.stacks.all.update({STACK: Stack("UPDATE_COMPLETE", found, {})})


def being_created(night: Night) -> None:
    """In CloudFormation's express mode, a stack is complete before its cluster is."""
    night.aws.clusters.restored["new"] = Cluster("cluster-NEW", night.aws.time, is_creating=True)
    clusters(A="new")(night)


IS = "stack acceptance-data is"
SEVERAL = (
    "stack acceptance-data has several clusters; name one in P_STACK_NAME: acceptance-data/A, "
    "acceptance-data/B"
)
GONE = "it was deleted, renamed, or is in another account or Region; correct RDS_STACK_NAME"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (stack_in("UPDATE_ROLLBACK_IN_PROGRESS"), None),
        (being_created, None),
        (stack_in("UPDATE_ROLLBACK_FAILED"), f"{IS} UPDATE_ROLLBACK_FAILED: continue its rollback"),
        (stack_in("ROLLBACK_FAILED"), f"{IS} ROLLBACK_FAILED: delete it"),
        (no_stack, f"there is no stack acceptance-data: {GONE}"),
        (clusters(), f"there is no cluster in stack acceptance-data: {GONE}"),
        (clusters(A="cluster-1", B="cluster-2"), SEVERAL),
    ],
    ids=["in progress", "express", "failed", "left over", "no stack", "no cluster", "two"],
)
def test_what_cannot_be_seen_moves_nothing_and_is_notified_once_if_it_will_not_settle(
    promoted: Night, spoil: Arrange, message: str | None
) -> None:
    promoted.run_ends("Failed", deploys=True)
    seen = promoted.aws.stacks.all[STACK]
    spoil(promoted)
    promoted.polls(3)
    assert (promoted.ledger, promoted.good()) == (PROMOTED, OLD)
    assert promoted.subjects == ([UNKNOWN] if message else [])
    if message:
        problem = f"cannot determine what is deployed: {message}."
        assert problem in promoted.aws.notifier.sent[0].body
        assert f"rds: {problem}" in promoted.status()["problems"]
    promoted.aws.stacks.all[STACK] = seen
    promoted.polls()
    assert promoted.subjects[-1] == FAILED_AFTER
    assert "prepared" not in promoted.aws.notifier.sent[-1].body.lower()  # nothing has to be
    spoil(promoted)
    promoted.polls(2)
    assert promoted.subjects == ([UNKNOWN, FAILED_AFTER, UNKNOWN] if message else [FAILED_AFTER])


def test_what_the_first_edition_called_good_was_deployed(promoted: Night) -> None:
    """It put no label of a run."""
    first, second = promoted.aws.parameters.kept[CURRENT]
    called_good = first._replace(labels=frozenset({GOOD}))
    promoted.aws.parameters.kept[CURRENT] = [called_good, second]
    promoted.run_ends("Failed")
    no_stack(promoted)
    promoted.polls()
    assert (promoted.current, promoted.subjects) == (NEW, [UNKNOWN])


@pytest.mark.parametrize("ended", ["Succeeded", "Failed"])
def test_with_a_wrong_stack_name_deployed_data_is_not_reverted(night: Night, ended: str) -> None:
    """Otherwise the next run would replace the new data."""
    night.configure(RDS_STACK_NAME="acceptance-typo")
    (version,) = night.aws.parameters.kept[CURRENT]
    night.aws.parameters.kept[CURRENT] = [version._replace(labels=frozenset())]  # never seen
    night.promote()
    night.run_ends(ended, deploys=True)
    if ended == "Succeeded":
        night.aws.pipelines.executed.clear()  # it deploys in a build, as with Terraform
    night.polls()
    assert facts(night) == (PROMOTED, NEW, None, [UNKNOWN])


@pytest.mark.parametrize("first", ["dummyvalue", None])
def test_a_failed_first_refresh_is_reverted_even_if_the_pipeline_has_run_before(
    night: Night, first: str | None
) -> None:
    """The stage knows no stack. The next push must not restore the reverted value."""
    night.configure(RDS_STACK_NAME="")
    night.aws.parameters.kept.pop(CURRENT)
    if first:
        night.set(CURRENT, first)
    night.polls()
    night.promote()
    night.run_is_over("Failed")
    assert (night.current, night.subjects) == (first, [RUN_FAILED])
    night.push()
    night.run_is_over()
    assert (night.current, night.subjects) == (first, [RUN_FAILED])


def test_a_cluster_that_was_seen_before_the_stage_knew_its_stack_has_one_run(night: Night) -> None:
    night.configure(RDS_STACK_NAME="")
    night.promote()
    night.run_is_over("Failed", deploys=True)
    night.aws.pipelines.pipelines[PIPELINE], night.aws.pipelines.executed = [], []
    night.configure(RDS_STACK_NAME=STACK)
    night.polls()
    assert {"cluster-ID0002", "run-run-2"} <= night.present().labels
    assert "run-unknown" not in night.present().labels


# --- deploys and promotions that go wrong ---------------------------------------------------------


def execute(night: Night, run: str, category: str, **place: str) -> None:
    """Let an action of a run succeed; one that prepares a change set is followed by an approval."""
    now = night.aws.time
    action = Action(run, "Deploy", "Prepare", "Succeeded", now, now, category, STACK, **place)
    night.aws.pipelines.executed.append(action)


@pytest.mark.parametrize("place", [{"account": "111111111111"}, {"region": "us-east-1"}])
def test_a_stack_of_the_same_name_in_another_place_is_not_the_database_s(
    promoted: Night, place: dict[str, str]
) -> None:
    """The pipeline deploys production's as well, after an approval."""
    stacks, own = promoted.aws.stacks.all, f"eu-west-1:222222222222:stack/{STACK}/1"
    stacks[STACK] = stacks[STACK]._replace(arn=f"arn:aws:cloudformation:{own}")
    execute(promoted, "run-2", "Deploy", **place)
    assert promoted.status()["pipeline"]["under_way"]["restores"] == f"rds from {NEW}"
    promoted.run_ends("Failed")
    execute(promoted, promoted.push(), PREPARES_CHANGE_SET, **place)
    promoted.polls()
    assert (promoted.current, promoted.subjects) == (OLD, [RUN_FAILED])


def test_a_change_set_prepared_before_the_put_has_the_value_put_again(promoted: Night) -> None:
    """See test_interleavings.py for an update of the stack that begins there."""
    promoted.run_ends("Failed")
    promoted.aws.time += timedelta(minutes=2)
    run = promoted.push()
    prepare = partial(execute, promoted, run, PREPARES_CHANGE_SET)
    meanwhile(promoted.aws, "before", "put", prepare)
    promoted.polls()
    assert (promoted.ledger, promoted.subjects) == ([*REVERTED, ("promote", "new")], [])
    assert promoted.status()["pipeline"]["under_way"]["restores"] == f"rds from {NEW}"
    promoted.aws.pipelines.finish(PIPELINE)
    promoted.polls()
    assert (promoted.deployed(), promoted.current) == (NEW, NEW)
    assert [each.partition(" in ")[0] for each in promoted.subjects] == ["refreshed"]


def test_a_change_set_of_what_is_deployed_restores_nothing_whatever_waits(night: Night) -> None:
    execute(night, night.push(), PREPARES_CHANGE_SET)
    night.aws.time += timedelta(minutes=2)
    night.pin("new")
    found = night.status()
    assert found["pipeline"]["under_way"]["restores"] is None
    assert found["databases"][0]["waiting"]
    night.aws.parameters.kept.pop(CURRENT)
    assert night.status()["databases"][0]["deployed"] == OLD


@pytest.mark.parametrize(
    ("status", "hours", "reads"), [("Failed", 5, 1), ("Failed", 6, 0), ("Succeeded", 1, 0)]
)
def test_only_runs_that_may_still_be_at_work_are_asked_who_made_a_cluster(
    promoted: Night, status: str, hours: int, reads: int
) -> None:
    """An action may go on after its run has failed beside it, or was stopped."""
    promoted.run_is_over(status, deploys=True)
    promoted.offer("third")
    promoted.pin("third")
    promoted.aws.time += timedelta(hours=hours)
    promoted.aws.stacks.deploy(STACK)  # from somebody's machine
    promoted.aws.calls.clear()
    promoted.reconcile()
    assert promoted.aws.calls.count("actions") == reads


@pytest.mark.parametrize("values", [[], ["dummyvalue"], [OLD], ["dummyvalue", OLD]])
def test_a_failed_first_promotion_is_reverted(night: Night, values: list[str]) -> None:
    """A stack that was deployed on Saturday has been deleted."""
    night.aws.stacks.all = {}
    without(CURRENT)(night)
    for value in values:
        night.set(CURRENT, value)
    night.aws.time += timedelta(hours=1)
    night.promote()
    night.run_ends("Failed")
    night.polls(3)
    assert night.current == (values[-1] if values else None)
    if OLD not in values:
        assert "; current is now no snapshot\n" in night.aws.notifier.sent[0].body
    assert not values or night.present().note is None  # a value put by hand waits again
    assert night.subjects == [RUN_FAILED]


# --- several databases ----------------------------------------------------------------------------


def test_databases_in_one_stack_share_their_run_and_one_notification(two: Night) -> None:
    two.promote()
    two.run_is_over("Failed")
    assert two.values[OTHER_CURRENT] == two.deployed(OTHER_CURRENT) == arn("docs-old")
    assert two.subjects == ["REFRESH FAILED: pipeline run failed, reverted (rds,docs)"]


def test_an_error_of_one_database_does_not_stop_the_others(two: Night) -> None:
    two.promote()
    two.run_ends("Failed")
    two.aws.refused.append(("history", CURRENT))
    found = reconcile(two.settings, two.aws)
    (error,) = found.errors
    assert str(error).startswith(f"history of {CURRENT} failed")
    assert [each.name for each in found.databases] == ["docs"]
    assert (two.current, two.values[OTHER_CURRENT]) == (NEW, arn("docs-old"))


@pytest.mark.parametrize("late", ["b c", "old old", "a a"])
def test_the_first_of_three_puts_at_once_wins(night: Night, late: str) -> None:
    """All have seen the same version. Whoever looks last puts the first one's value back."""
    seen, refused = night.present().number, list[str]()

    def put_by(name: str) -> None:
        try:
            put(night.aws, CURRENT, arn(name), Note("pin", name, ""), seen)
        except Refused as error:
            refused.append(str(error))

    put_by("a")
    second, third = late.split()
    meanwhile(night.aws, "after", "put", lambda: put_by(third))
    put_by(second)
    overruled = f"a set {CURRENT} to {arn('a')} in the meantime; that takes precedence"
    assert (night.current, night.present().actor) == (arn("a"), "a")
    assert refused == ([] if late == "a a" else [overruled] * 2)


@pytest.mark.parametrize("starts", [True, False])
def test_a_value_that_was_refused_counts_for_nothing(night: Night, starts: bool) -> None:
    """Neither an undo nor a rollback returns to it, and a retry continues."""
    seen = night.present().number
    night.promotion_killed("before", "start")
    with pytest.raises(Refused):
        put(night.aws, CURRENT, arn("refused"), Note("pin", KIM, ""), seen)
    assert (night.current, night.present().actor) == (NEW, SCHEDULE)
    if starts:
        assert night.promote().outcome == "started"
        night.run_is_over()
        assert (night.good(), night.status()["databases"][0]["previous"]) == (NEW, OLD)
    else:
        refuse(night.aws, "start")
        with pytest.raises(AwsError):
            night.promote()
        assert night.current == OLD


def test_a_refresh_that_was_completed_is_no_failure_in_the_history(promoted: Night) -> None:
    promoted.run_is_over("Failed", deploys=True)
    promoted.aws.pipelines.finish(PIPELINE, "Succeeded", deploys=False)  # its tests are retried
    promoted.polls()
    promoted.rollback()
    promoted.run_is_over()
    back, retried, _ = promoted.history()
    assert (retried["result"], back["result"]) == ("restored", "refreshed")


# --- labels and calls -----------------------------------------------------------------------------


def test_labels_never_block_the_hundredth_version(promoted: Night) -> None:
    promoted.run_is_over()
    for number in range(250):
        value = NEW if number % 60 == 0 else arn(f"pinned-{number}")
        present = promoted.present().number
        version = put(promoted.aws, CURRENT, value, Note("pin", KIM, ""), present)
        promoted.aws.parameters.label(CURRENT, version, {f"somebodys-{version}"})
    promoted.polls(3)
    assert promoted.good() == NEW
    assert len(promoted.aws.parameters.kept[CURRENT]) == 100
    assert promoted.subjects == [REFRESHED]


def test_what_a_broken_topic_has_lost_is_notified_once_it_works(promoted: Night) -> None:
    refuse(promoted.aws, "_publish")
    promoted.run_is_over("Failed")
    assert (promoted.subjects, promoted.current) == ([], OLD)
    calm(promoted.aws)
    promoted.polls()
    assert promoted.subjects == [RUN_FAILED]


def test_a_failed_request_inherits_no_labels(night: Night) -> None:
    """Or nobody would be notified of its failure, and the history would call it restored."""
    while night.present().number < 100:
        name = "new" if night.deployed() == OLD else "old"
        night.pin(name, deploy=True, reason=str(night.present().number))
        night.run_is_over()
    night.pin("new")
    night.aws.notifier.sent.clear()
    night.pin("old", deploy=True)
    night.run_is_over("Failed")
    assert (night.subjects, night.history()[1]["result"]) == ([RUN_FAILED], "run-failed")


@pytest.mark.parametrize(("hidden", "sent"), [(GOOD, [REFRESHED]), ("run-run-2", [])])
def test_a_label_that_is_not_listed_at_once_has_nothing_notified_twice_in_one_poll(
    promoted: Night, monkeypatch: pytest.MonkeyPatch, hidden: str, sent: list[str]
) -> None:
    promoted.run_ends()
    label = promoted.aws.parameters.label

    def lag(name: str, version: int, labels: set[str]) -> None:
        if hidden not in labels:
            label(name, version, labels)

    monkeypatch.setattr(promoted.aws.parameters, "label", lag)
    promoted.reconcile()
    monkeypatch.undo()
    assert promoted.subjects == sent
    promoted.polls()
    assert (promoted.good(), promoted.subjects[-1]) == (NEW, REFRESHED)


def test_an_idle_reconcile_makes_six_requests_and_a_promotion_nine(night: Night) -> None:
    """The second look of a stack, for its resources, is a request of its own."""
    night.reconcile()
    assert night.aws.calls == ["get", "history", "runs", "find", "describe"]
    night.aws.calls.clear()
    night.promote()
    calls = ["get", "find", "history", "runs", "find", "describe", "put", "start"]
    assert night.aws.calls == calls
