"""Who moved it: single cases of two who act at once; `test_interleavings.py` tries every other one."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from chalicelib.domain.errors import AwsError, BusyError, Refused
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import calm, meanwhile, refuse
from tests.stage import CURRENT, OTHER_CURRENT, OTHER_LATEST, PIPELINE
from tests.usecases.conftest import (
    KIM,
    SUNDAY,
    TWO_IN_ONE_STACK,
    WITH_STACK,
    ends,
    ledger,
    polls,
    present,
    quiet_sunday,
    started,
    subjects,
    with_documents,
)

SETTINGS = Settings.from_environment(WITH_STACK)
(DATABASE,) = SETTINGS.databases
Act = Callable[[InMemoryAws], object]


def pinning(name: str, *, deploy: bool, by: str = KIM) -> Act:
    return lambda aws: pin(SETTINGS, aws, DATABASE, PinRequest(arn(name), by, "", deploy=deploy))


def refreshing(aws: InMemoryAws, by: str = KIM) -> object:
    request = RefreshRequest.by_person(by, "now", outside_window=True)
    return refresh_now(SETTINGS, aws, request)


def promoting(aws: InMemoryAws) -> object:
    return promote(SETTINGS, aws, SUNDAY)


def evening() -> InMemoryAws:
    """`middle` is deployed, `old` was before it, `latest` is new, and `wanted` exists."""
    aws = quiet_sunday()
    aws.time -= timedelta(hours=8)
    aws.snapshots.all += [snapshot("middle"), snapshot("wanted")]
    pinning("middle", deploy=True)(aws)
    ends(aws)
    polls(SETTINGS, aws)
    aws.time = SUNDAY
    aws.notifier.sent.clear()
    aws.calls.clear()
    return aws


@pytest.mark.parametrize("first", ["promote", "pin"])
def test_two_orders_of_different_databases_at_once_have_one_run(first: str) -> None:
    two = Settings.from_environment(TWO_IN_ONE_STACK)
    docs = PinRequest(arn("docs-new"), KIM, "", deploy=True)
    orders: list[Act] = [
        lambda aws: promote(two, aws, SUNDAY),
        lambda aws: pin(two, aws, two.databases[1], docs),
    ]
    act, other = orders if first == "promote" else orders[::-1]

    def arrange() -> InMemoryAws:
        aws = with_documents(two, quiet_sunday())
        aws.parameters.put_by_hand(OTHER_LATEST, arn("docs-old"))  # nobody promotes it
        return aws

    def attempt(aws: InMemoryAws, order: Act) -> None:
        with suppress(AwsError, Refused, BusyError):
            order(aws)

    undisturbed = arrange()
    act(undisturbed)
    for index, operation in enumerate(undisturbed.calls):
        aws, nth = arrange(), undisturbed.calls[: index + 1].count(operation)
        meanwhile(aws, "before", operation, lambda aws=aws: attempt(aws, other), nth)
        attempt(aws, act)
        runs = aws.pipelines.pipelines[PIPELINE]
        assert (operation, nth, sum(run.in_progress for run in runs)) == (operation, nth, 1)
        calm(aws)
        ends(aws)
        polls(two, aws, times=3)
        for name in (CURRENT, OTHER_CURRENT):
            assert aws.values()[name] == aws.stacks.restored_from(name), (operation, nth)


OVERRULED = f"{KIM} moved {CURRENT} to {arn('wanted')} in the meantime, which stays"


def evening_with_a_pin_before_the_put() -> InMemoryAws:
    aws = evening()
    meanwhile(aws, "before", "put", lambda: pinning("wanted", deploy=False)(aws))
    return aws


def test_an_overruled_person_is_told_by_whom() -> None:
    aws = evening_with_a_pin_before_the_put()
    with pytest.raises(Refused, match="in the meantime") as caught:
        refreshing(aws)
    assert (caught.value.reason, str(caught.value)) == ("overruled", OVERRULED)
    assert ledger(aws)[-3:] == [("pin", "wanted"), ("refresh", "new"), ("pin", "wanted")]
    assert len(started(aws)) == 1


def test_an_overruled_schedule_has_nothing_left_to_do() -> None:
    aws = evening_with_a_pin_before_the_put()
    result = promote(SETTINGS, aws, SUNDAY)
    assert (result.reason, result.message) == ("nothing-new", OVERRULED)
    assert ledger(aws)[-3:] == [("pin", "wanted"), ("promote", "new"), ("pin", "wanted")]
    assert len(started(aws)) == 1


def test_a_parameter_whose_older_versions_are_gone_is_not_deleted() -> None:
    aws = evening()
    meanwhile(aws, "before", "start", lambda: refuse(aws, "start"))
    aws.parameters.kept[CURRENT] = []
    aws.parameters.put_by_hand(CURRENT, arn("old"))
    kept = aws.parameters.kept[CURRENT]

    def forget(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            del kept[0]
            raise AwsError(operation, "it", "AccessDeniedException", "no")

    aws.interrupt = forget
    with pytest.raises(AwsError):
        refreshing(aws)
    assert aws.values()[CURRENT] == arn("new")


def test_a_parameter_that_was_created_for_a_run_that_was_not_started_is_removed_again() -> None:
    aws = evening()
    for act in (refreshing, promoting):
        aws.parameters.kept.pop(CURRENT, None)
        refuse(aws, "start")
        with pytest.raises(AwsError):
            act(aws)
        calm(aws)
        assert CURRENT not in aws.values()


def test_a_put_that_never_arrived_is_not_taken_for_the_same_value_put_by_hand() -> None:
    aws = evening()
    before = started(aws)

    def put_by_hand_instead(when: str, operation: str) -> None:
        if (when, operation) == ("before", "put"):
            aws.interrupt = lambda when, operation: None
            aws.parameters.put_by_hand(CURRENT, arn("new"))
            raise AwsError(operation, "it", "Timeout", "", answered=False)

    aws.interrupt = put_by_hand_instead
    with pytest.raises(AwsError, match="put of it failed"):
        promoting(aws)
    assert (present(aws).actor, started(aws)) == ("unknown", before)


def test_of_two_people_who_move_current_at_once_the_last_wins() -> None:
    aws = evening()
    put = aws.parameters.put

    def between_two(name: str, value: str, note: Note | None) -> int:
        aws.parameters.put_by_hand(name, arn("first"))
        number = put(name, value, note)
        aws.parameters.put_by_hand(name, arn("last"))
        return number

    aws.parameters.put = between_two  # type: ignore[method-assign]
    with pytest.raises(Refused, match=f"unknown moved {CURRENT} to {arn('first')}"):
        refreshing(aws)
    assert aws.values()[CURRENT] == arn("last")


def test_a_second_failure_is_told_as_its_own() -> None:
    aws = evening()
    promoting(aws)
    ends(aws, "Failed")
    polls(SETTINGS, aws)
    refreshing(aws)
    ends(aws, "Failed")
    polls(SETTINGS, aws)
    assert subjects(aws) == ["REFRESH FAILED: pipeline run failed, taken back (rds)"] * 2
    assert [each.attributes["by"] for each in aws.notifier.sent] == [
        "the schedule of 2026-01-04T04:00:00+00:00",
        KIM,
    ]


def test_a_put_whose_answer_was_lost_and_that_the_client_made_twice_is_one_order() -> None:
    aws = evening()
    put = aws.parameters.put

    def twice(name: str, value: str, note: Note | None) -> int:
        put(name, value, note)
        return put(name, value, note)

    aws.parameters.put = twice  # type: ignore[method-assign]
    promoting(aws)
    ends(aws)
    polls(SETTINGS, aws)
    assert aws.stacks.restored_from(CURRENT) == aws.values()[CURRENT] == arn("new")
