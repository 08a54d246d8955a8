"""Somebody acts between any two AWS calls of what moves `current`: every interleaving is tried.

Whoever comes in between wins, or comes first and is seen.
"""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, RefreshError, Refused
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from tests.fakes import arn
from tests.interruptions import meanwhile
from tests.simulation.account import Behaviour, SimulatedAws
from tests.simulation.model import CORRECTIONS, START, Model, bootstrap, offer, variables
from tests.stage import CURRENT, LATEST, OTHER_LATEST
from tests.usecases.names import HIDDEN, NEW, SECRET, SUNDAY
from tests.usecases.night import Night

ACTORS = ("pin", "hand", "inheriting hand", "pin and deploy", "refresh", "promote")
ACTORS += ("deploy begins", "pin the other and deploy")  # which leave this database's `current`


class Stage(Night):
    """A simulated account before the mover's invocation, and how a mover or an actor acts in it."""

    def __init__(self, mover: str, history: str) -> None:
        two = history == "deployed"
        self.settings = Settings.from_environment(variables(two=two, stacks="one"))
        self.aws = aws = SimulatedAws(START, Behaviour())
        self.model = Model(self.settings, aws)
        bootstrap(self.settings, aws, "one", history)
        for name in ("mine", "theirs", "new"):
            offer(aws, self.settings.databases[0], name, START)
        aws.parameters.put(LATEST, NEW, Note("update", "x", "x"))
        if two:  # of the other database what is deployed is the newest
            aws.parameters.put(OTHER_LATEST, arn("first-docs"), Note("update", "x", "x"))
            offer(aws, self.settings.databases[1], "other", START - timedelta(days=9))
        if mover == "rollback" and history == "deployed":
            self.pin("mine", deploy=True)
            self.model.settle(self.reconcile)
        aws.time = SUNDAY
        if mover == "take back":
            self.promote()
            run = aws.executions[-1]
            aws.go_on(run, "fail")
            assert run.status == "Failed"
            aws.time += timedelta(minutes=20)
        aws.calls.clear()
        aws.notifier.sent.clear()

    def act(self, who: str, value: str) -> Any:
        """Return the result, or the error; a value is what a pin or a put by hand sets."""
        put = partial(self.aws.parameters.put_by_hand, CURRENT, arn(value))
        acts = {
            "promote": self.promote,
            "refresh": partial(self.refresh, value),
            "rollback": self.rollback,
            "take back": self.reconcile,
            "pin": partial(self.pin, value, deploy=value == "mine"),
            "pin and deploy": partial(self.pin, value, deploy=True),
            "pin the other and deploy": partial(self.pin, "other", deploy=True, index=1),
            "hand": put,
            "inheriting hand": partial(put, inherits=True),
            "deploy begins": self._deploy_begins,
        }
        try:
            return acts[who]()
        except RefreshError as error:
            return error

    def _deploy_begins(self) -> None:
        run = self.aws.begin()
        for _ in range(6):
            if not any(each.is_live for each in self.aws.updates):
                self.aws.go_on(run)


def interleave(
    stage: Stage, mover: str, actor: str, at: int, *, fails: bool
) -> tuple[list[str], Any, str | None]:
    """Run the mover, and the actor before its call number `at`.

    Return the calls, what the actor was answered, and what it left in `current`.
    """
    calls: list[str] = []
    answer, left = None, None

    def interrupt(when: str, operation: str) -> None:
        nonlocal answer, left
        if when == "before":
            calls.append(operation)
            if len(calls) == at:
                stage.aws.interrupt = lambda when, operation: None
                answer, left = stage.act(actor, "theirs"), stage.current
                stage.aws.interrupt = interrupt
            if operation == "start" and fails:
                raise AwsError("StartPipelineExecution", "it", "AccessDenied", "no")

    stage.aws.interrupt = interrupt
    stage.act(mover, "mine")
    stage.aws.interrupt = lambda when, operation: None
    return calls, answer, left


def check(stage: Stage, has_put: bool, has_looked: bool, left: str | None, history: str) -> None:
    """Check what is so at once; an actor that has put wins if the mover had looked before."""
    if history == "deployed" or has_put:
        assert stage.current is not None, "current was deleted"
    if has_put and has_looked:
        assert stage.current == left, f"{left} was lost to {stage.current}"
    ledger = stage.model.ledger(stage.settings.databases[0])
    reading = [each.read[CURRENT].value for each in stage.aws.updates if each.is_live]
    if ledger and ledger[-1].action in CORRECTIONS:
        assert set(reading) <= {ledger[-1].value}, f"{reading} is being restored, and put back"
    live = [each for each in stage.aws.executions if each.is_live]
    if ledger and ledger[-1].token and not live:
        assert stage.aws.own_run(ledger[-1].token), "it waits for a run that nobody has started"
    ours = [each for each in live if each.execution_id in stage.aws.pipelines.started]
    assert len(ours) <= 1, "two runs of ours are in progress"


def check_end(stage: Stage) -> None:
    """Whatever came of it, the polls bring it in line, and notify of everything once."""
    stage.model.settle(stage.reconcile)
    stage.model.check_quiet()
    stage.model.check_replacements(0)
    stage.model.check_good()
    stage.model.check_ends()
    stage.model.check_status()
    sent = [(each.subject, each.body) for each in stage.aws.notifier.sent]
    assert len(sent) == len(set(sent)), f"notified twice: {sent}"


@pytest.mark.parametrize("fails", [False, True], ids=["starts", "start-refused"])
@pytest.mark.parametrize("history", ["deployed", "no parameter"])
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("mover", ["promote", "refresh", "pin", "rollback", "take back"])
def test_a_concurrent_change_wins(mover: str, actor: str, history: str, fails: bool) -> None:
    if fails and mover == actor == "promote":
        pytest.skip("the function's reserved concurrency is one")
    if actor == "pin the other and deploy" and history == "no parameter":
        pytest.skip("there is no other database")

    undisturbed, *_ = interleave(Stage(mover, history), mover, actor, 0, fails=fails)
    for at in range(1, len(undisturbed) + 1):
        stage = Stage(mover, history)
        calls, answer, left = interleave(stage, mover, actor, at, fails=fails)
        # Parameter Store cannot compare and delete: the last look comes right before.
        last = 3 if actor == "deploy begins" else 1
        if "delete" in calls[at - 1 : at - 1 + last]:
            assert history == "no parameter", "current was deleted"
            continue
        has_put = actor in ACTORS[:6] and not isinstance(answer, RefreshError)
        has_put = has_put and getattr(answer, "outcome", "started") == "started"
        try:
            check(stage, has_put, "history" in calls[: at - 1], left, history)
            check_end(stage)
        except AssertionError as error:
            error.add_note(f"{actor} before call {at} of {mover}, {calls}: {answer}")
            raise


# --- what the table does not arrange --------------------------------------------------------------


def test_a_parameter_whose_older_versions_are_gone_is_not_deleted(night: Night) -> None:
    def forget() -> None:
        del night.aws.parameters.kept[CURRENT][0]
        raise AwsError("start", "it", "AccessDeniedException", "no")

    meanwhile(night.aws, "before", "start", forget)
    with pytest.raises(AwsError):
        night.promote()
    assert night.current == NEW


def test_a_put_that_never_arrived_is_not_taken_for_the_same_value_put_by_hand(night: Night) -> None:
    def put_by_hand_instead() -> None:
        night.set(CURRENT, NEW)
        raise AwsError("put", "it", "Timeout", "", answered=False)

    meanwhile(night.aws, "before", "put", put_by_hand_instead)
    with pytest.raises(AwsError, match="put of it failed"):
        night.promote()
    assert (night.present().actor, night.started) == ("unknown", [])


def test_of_two_people_at_once_the_last_wins(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first has put by mistake is not shown."""
    put = night.aws.parameters.put

    def between_two(*given: Any) -> int:
        night.set(CURRENT, SECRET)
        number = put(*given)
        night.set(CURRENT, arn("last"))
        return number

    monkeypatch.setattr(night.aws.parameters, "put", between_two)
    with pytest.raises(Refused, match=f"unknown set {CURRENT} to {HIDDEN} in the meantime"):
        night.refresh()
    assert night.current == arn("last")


def test_a_put_made_twice_is_one_order(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    put = night.aws.parameters.put
    monkeypatch.setattr(night.aws.parameters, "put", lambda *given: put(*given) and put(*given))
    night.promote()
    night.run_is_over()
    assert night.deployed() == night.current == NEW
