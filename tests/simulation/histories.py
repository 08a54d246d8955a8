"""Random histories of a refreshed account, and what must hold after every step of them.

The use cases are the real ones, on the AWS in memory. Lambda and EventBridge are played as FACTS has
them: events come late, twice and out of order, an invocation that raises or is killed runs twice
more, and one function's invocations never overlap (its concurrency is reserved).
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.answers import Answer
from chalicelib.errors import AwsError, Refused
from chalicelib.follow import Ended, follow
from chalicelib.ledger import Note, is_carried, is_spent, newest_carried
from chalicelib.pin import Pin, pin
from chalicelib.refresh import promote, update
from chalicelib.settings import Settings
from chalicelib.snapshots import Wanted, pin_rejection, rejection
from tests import stage
from tests.fakes import InMemoryAws, arn, snapshot
from tests.stage import PIPELINE, PIPELINE_NAME, STAGE

HOLD = "/acceptance/hold"
ONE = STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD}
TWO = stage.TWO | {"SSM_REFRESH_HOLD_NAME": HOLD}
ENGINES = {"rds": ("aurora-postgresql", "15.4"), "docs": ("docdb", "5.0.0")}
START = datetime(2026, 1, 3, 12, tzinfo=UTC)
EVENT = {"Succeeded": "SUCCEEDED", "Failed": "FAILED"} | {
    "Stopped": "STOPPED",
    "Cancelled": "CANCELED",
    "Superseded": "SUPERSEDED",
}


class Killed(BaseException):
    """The process died: no handler of its runs any more."""


# One fault hits one attempt: what happens, before or after the call took effect, at which call.
# A call is refused before it takes effect; the process may be killed, or the answer lost, either way.
FAULTS = st.tuples(
    st.sampled_from([("kill", "before"), ("kill", "after"), ("refuse", "before")])
    | st.sampled_from([("lose", "before"), ("lose", "after")]),
    st.sampled_from(["put", "start", "put", "start", "get", "find", "runs", "history"])
    | st.sampled_from(["_publish", "mark_good", "shared"]),
).map(lambda fault: (*fault[0], fault[1]))
ATTEMPTS = st.lists(st.none() | FAULTS, max_size=3) | FAULTS.map(lambda fault: [fault] * 3)
NAMES = st.sampled_from(["a", "b", "c", "d"])


def side_by_side(
    aws: InMemoryAws, asks: Sequence[Callable[[], object]], order: Sequence[int]
) -> None:
    """Run all to their ends, one AWS call at a time: ``order`` says whose call is next."""
    go = [threading.Semaphore(0) for _ in asks]
    paused = threading.Semaphore(0)
    turns = {}

    def wait_for_turn(when: str, operation: str) -> None:
        if when == "before":
            paused.release()
            go[turns[threading.get_ident()]].acquire()

    def run(index: int) -> None:
        turns[threading.get_ident()] = index
        with suppress(AwsError, Refused):
            asks[index]()
        working.discard(index)
        paused.release()

    aws.interrupt = wait_for_turn
    working = set(range(len(asks)))
    threads = [threading.Thread(target=run, args=(index,)) for index in working]
    for thread in threads:
        thread.start()
        paused.acquire()
    for index in chain(order, cycle(range(len(asks)))):
        if not working:
            break
        if index in working:
            go[index].release()
            paused.acquire()
    for thread in threads:
        thread.join()
    aws.interrupt = lambda when, operation: None


class Histories(RuleBasedStateMachine):
    """One account's history. Every rule is a step, every invariant is checked after each."""

    @initialize(two=st.booleans())
    def begin(self, two: bool) -> None:
        self.settings = Settings.from_environment(TWO if two else ONE)
        self.aws = InMemoryAws(START)
        by_hand = Note("bootstrap", "setup", "")
        self.aws.parameters.put(PIPELINE_NAME, PIPELINE, by_hand)
        self.aws.pipelines.pipelines[PIPELINE] = []
        self.currents = [each.current_parameter for each in self.settings.databases]
        for each in self.settings.databases:
            self.aws.parameters.put(each.current_parameter, arn(f"first-{each.name}"), by_hand)
        self.shares = 0
        self.pinned: set[str] = set()
        self.fired: list[tuple[str, datetime]] = []
        self.ended: list[Ended] = []
        self.runs_of: dict[datetime, set[str]] = {}
        self.attempt: tuple[str, datetime | None] = ("nobody", None)
        self.audited = dict.fromkeys(self.currents, 1)
        self.good = dict.fromkeys(self.currents, 0)

    # --- the world ---

    @rule(minutes=st.sampled_from([1, 5, 30, 240, 1440]))
    def time_passes(self, minutes: int) -> None:
        self.aws.time += timedelta(minutes=minutes)

    @rule(
        database=st.sampled_from(["rds", "docs"]),
        hours=st.integers(0, 20 * 24),
        flaw=st.sampled_from([{}] * 6 + [{"status": "creating"}, {"created": None}])
        | st.sampled_from([{"account": "999999999999"}, {"engine_version": "99.1"}]),
        tie=st.booleans(),
    )
    def production_shares(self, database: str, hours: int, flaw: dict[str, Any], tie: bool) -> None:
        self.shares += 1
        engine, version = ENGINES[database]
        created = self.aws.time - timedelta(hours=hours)
        if tie and self.aws.snapshots.all:
            created = self.aws.snapshots.all[-1].created or created
        # Ties go to the greater ARN, which is the one that is listed later.
        facts = {"engine": engine, "engine_version": version, "created": created, **flaw}
        account = facts.pop("account", "111111111111")
        self.aws.snapshots.all.append(
            snapshot(f"s{self.shares:04}", account, cluster=database, **facts)
        )

    @precondition(lambda self: self.aws.snapshots.all)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["deleted", "failed", "available"]))
    def production_breaks(self, which: int, how: str) -> None:
        shares = self.aws.snapshots.all
        index = which % len(shares)
        if how == "deleted":
            del shares[index]
        else:
            shares[index] = replace(shares[index], status=how)

    @rule(days=st.integers(-2, 3), text=st.sampled_from([None, None, "till thursday"]))
    def operator_holds(self, days: int, text: str | None) -> None:
        until = (self.aws.time + timedelta(days=days)).date()
        value = text or f'{{"until": "{until}", "reason": "test", "by": "kim"}}'
        self.aws.parameters.put(HOLD, value, Note("hold", "kim", ""))

    @precondition(lambda self: self.aws.snapshots.all)
    @rule(which=st.integers(0, 99), deploy=st.booleans(), fault=st.none() | FAULTS)
    def operator_pins(self, which: int, deploy: bool, fault: tuple[str, str, int] | None) -> None:
        chosen = self.aws.snapshots.all[which % len(self.aws.snapshots.all)]
        index = 1 if chosen.cluster == "docs" and len(self.settings.databases) > 1 else 0
        database = self.settings.databases[index]
        self.pinned.add(chosen.arn)
        wish = Pin(chosen.arn, "kim", "try it", deploy)
        self._attempt(
            ("pin", None),
            lambda: pin(self.settings, self.aws, database, wish),  # type: ignore[arg-type]
            fault,
        )

    # --- the pipeline ---

    @precondition(lambda self: self._open_run() is not None)
    @rule(status=st.sampled_from(["Succeeded", "Succeeded", "Failed", "Stopped", "Cancelled"]))
    def a_run_ends(self, status: str) -> None:
        self.aws.time += timedelta(minutes=20)
        run = self._open_run()
        runs = self.aws.pipelines.pipelines[PIPELINE]
        index = runs.index(run)
        runs[index] = replace(run, status=status, updated=self.aws.time)
        self.ended.append(Ended(PIPELINE, run.execution_id, EVENT[status]))

    @rule(status=st.sampled_from([None, "Succeeded", "Failed"]))
    def an_ordinary_deployment_runs(self, status: str | None) -> None:
        """It supersedes one that waits, and carries whatever *current* holds."""
        run = self._open_run()
        if run:
            runs = self.aws.pipelines.pipelines[PIPELINE]
            runs[runs.index(run)] = replace(run, status="Superseded", updated=self.aws.time)
            self.ended.append(Ended(PIPELINE, run.execution_id, "SUPERSEDED"))
        self.aws.pipelines.start(PIPELINE, f"ordinary-{len(self.ended)}-{self.aws.time}")
        if status:
            self.a_run_ends(status)

    @precondition(lambda self: self.ended)
    @rule(which=st.integers(0, 99), attempts=ATTEMPTS, minutes=st.sampled_from([0, 0, 3, 600]))
    def an_event_of_the_pipeline_arrives(
        self, which: int, attempts: list[Any], minutes: int
    ) -> None:
        """Late, twice, out of order: any event of the past may arrive at any time."""
        self.aws.time += timedelta(minutes=minutes)
        event = self.ended[-1 - which % len(self.ended)]
        answer = self._invoke(("follow", None), lambda: self._follow(event), attempts)
        if answer is None or answer.outcome != "failed":
            return
        run = next(
            run
            for run in self.aws.pipelines.pipelines[PIPELINE]
            if run.execution_id == event.execution_id
        )
        runs = self.aws.pipelines.pipelines[PIPELINE]
        for name in self.currents:
            ledger = self.aws.parameters.kept[name]
            present = ledger[-1]
            proven = [entry for entry in ledger if entry.good] + [
                entry
                for run in runs
                if run.status == "Succeeded" and (entry := newest_carried(ledger, run))
            ]
            goes_back = any(entry.value != present.value for entry in ledger) and not any(
                entry.value == present.value for entry in proven
            )
            assert not (present.token and newest_carried(ledger, run) == present and goes_back), (
                f"{name} still holds what the failed run carried"
            )

    # --- the schedules ---

    @rule(
        late=st.sampled_from([0, 0, 0, 2, 178, 179, 179, 400]),
        attempts=ATTEMPTS,
        held=st.integers(0, 9),
        meanwhile=st.sampled_from([None, None, "broken", "busy", "a pin"]),
        ends=st.sampled_from([None, "Succeeded", "Succeeded", "Failed", "Stopped"]),
    )
    def a_night_passes(
        self, late: int, attempts: list[Any], held: int, meanwhile: str | None, ends: str | None
    ) -> None:
        """The whole of it: shares, an update, a promotion, its run, and the event of its end."""
        self._evening(twins=held > 6)
        if meanwhile == "broken":
            self.production_breaks(-1 % len(self.aws.snapshots.all), "failed")
        elif meanwhile == "busy":
            self.an_ordinary_deployment_runs(None)
        elif meanwhile == "a pin":
            self.operator_pins(held, deploy=held % 2 == 0, fault=None)
        if held == 0:
            self.operator_holds(2, None)
        self.a_schedule_fires("promote", late, attempts, jump=False)
        if ends and self._open_run():
            self.a_run_ends(ends)
            self.an_event_of_the_pipeline_arrives(0, [], 0)

    def _evening(self, *, twins: bool) -> None:
        """Before an on-week's promotion: the pipeline idle, no hold, new data, and recorded."""
        if self._open_run():
            self.a_run_ends("Succeeded")
        self._to_an_on_week()
        for database in self.settings.databases:
            self.production_shares(database.name, 3, {}, tie=False)
            if twins:
                self.production_shares(database.name, 3, {}, tie=True)
        self.aws.parameters.put(HOLD, "dummyvalue", Note("hold", "kim", ""))
        self.a_schedule_fires("update", 0, [], jump=True)

    def _to_an_on_week(self) -> None:
        if not self.settings.cadence.is_on_week(self._next_sunday(2).date()):
            self.aws.time = self._next_sunday(2) + timedelta(days=1)

    @rule(fault=FAULTS, late=st.sampled_from([0, 179, 179]), once=st.booleans())
    def a_bad_night_passes(self, fault: Any, late: int, once: bool) -> None:
        """AWS fails, or the process dies, at the same call in every attempt, or in the first."""
        attempts = [fault] if once else [fault] * 3
        self.a_night_passes(late, attempts, 5, None, None)

    @rule(ends=st.sampled_from(["Succeeded", "Failed"]))
    def a_quiet_night_passes(self, ends: str) -> None:
        self.a_night_passes(0, [], 5, None, ends)

    @rule(
        function=st.sampled_from(["update", "promote", "promote"]),
        late=st.sampled_from([0, 0, 0, 2, 90, 400]),
        attempts=ATTEMPTS,
        jump=st.booleans(),
    )
    def a_schedule_fires(self, function: str, late: int, attempts: list[Any], jump: bool) -> None:
        """The next Sunday comes, or that of an on-week, and an event: on time, or hours late."""
        if jump:
            self._to_an_on_week()
        sunday = self._next_sunday(2 if function == "update" else 4)
        self.aws.time = sunday + timedelta(minutes=late)
        self.fired.append((function, sunday))
        self._deliver(function, sunday, attempts)

    def _next_sunday(self, hour: int) -> datetime:
        ahead = (6 - self.aws.time.weekday()) % 7
        day = self.aws.time + timedelta(days=ahead)
        sunday = day.replace(hour=hour, minute=0, second=0, microsecond=0)
        return sunday if sunday >= self.aws.time else sunday + timedelta(days=7)

    def _deliverable(self) -> list[tuple[str, datetime]]:
        """EventBridge tries to deliver an event for at most 24 hours."""
        return [
            (function, scheduled)
            for function, scheduled in self.fired
            if self.aws.time - scheduled <= timedelta(hours=24)
        ]

    @precondition(lambda self: self._deliverable())
    @rule(which=st.integers(0, 5), attempts=ATTEMPTS)
    def a_schedules_event_arrives_again(self, which: int, attempts: list[Any]) -> None:
        events = self._deliverable()
        self._deliver(*events[-1 - which % len(events)], attempts)

    @rule(order=st.lists(st.integers(0, 1), max_size=14))
    def a_schedule_fires_twice_at_once(self, order: list[int]) -> None:
        """Two deliveries of one event run side by side, call by call in any order."""
        self._evening(twins=False)
        scheduled = self.aws.time = self._next_sunday(4)
        self.fired.append(("promote", scheduled))
        runs = {run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]}
        side_by_side(
            self.aws,
            [lambda: promote(self.settings, self.aws, scheduled)] * 2,  # type: ignore[arg-type]
            order,
        )
        started = {run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]} - runs
        self.runs_of.setdefault(scheduled, set()).update(started)
        self._audit(("promote", scheduled))
        self._nothing_is_promoted_without_a_run(scheduled)

    @precondition(lambda self: self.fired)
    @rule()
    def everything_is_delivered_again(self) -> None:
        """Twice over: what the first time could still do, the second time changes nothing."""
        for _ in range(2):
            before = self._state()
            for function, scheduled in self._deliverable():
                if function == "promote":
                    self._deliver(function, scheduled, [])
            for event in self.ended:
                self._invoke(("follow", None), lambda event=event: self._follow(event), [])
        assert self._state() == before, "a second delivery of everything changed something"

    def _deliver(self, function: str, scheduled: datetime, attempts: list[Any]) -> None:
        use_case = update if function == "update" else promote
        answer = self._invoke(
            (function, scheduled),
            lambda: use_case(self.settings, self.aws, scheduled),  # type: ignore[arg-type]
            attempts,
        )
        if function == "promote" and answer and answer.outcome == "started":
            values = self.aws.values()
            for database in self.settings.databases:
                assert values[database.current_parameter] == values[database.latest_parameter], (
                    "some databases were promoted, and not all"
                )
        if function == "update" and answer and answer.outcome in ("updated", "unchanged"):
            for database in self.settings.databases:
                eligible = [
                    each
                    for each in self.aws.snapshots.all
                    if rejection(each, database.wanted) is None
                ]
                newest = max(eligible, key=lambda each: (each.created, each.arn))
                assert self.aws.values()[database.latest_parameter] == newest.arn

    def _follow(self, event: Ended) -> Answer:
        self.followed = event.execution_id
        return follow(self.settings, self.aws, event)  # type: ignore[arg-type]

    # --- Lambda ---

    def _invoke(
        self, who: tuple[str, datetime | None], ask: Callable[[], Answer], attempts: list[Any]
    ) -> Answer | None:
        """Up to three attempts, a minute and two apart; the answer of the one that succeeds."""
        for delay, fault in zip((0, 1, 2), [*attempts, None, None, None], strict=False):
            self.aws.time += timedelta(minutes=delay)
            answer, ending = self._attempt(who, ask, fault)
            if ending == "answered":
                break
        if ending != "killed" and who[0] == "promote":
            assert who[1] is not None
            self._nothing_is_promoted_without_a_run(who[1])
        if who[1] and answer and answer.reason == "nothing-new":
            self._nothing_was_left_undone(who[1])
        return answer

    def _attempt(
        self, who: tuple[str, datetime | None], ask: Callable[[], Any], fault: Any
    ) -> tuple[Any, str]:
        struck = False

        def interrupt(when: str, operation: str) -> None:
            nonlocal struck
            if fault and not struck and (when, operation) == fault[1:]:
                struck = True
                if fault[0] == "kill":
                    raise Killed
                raise AwsError(operation, "it", "Fault", "", answered=fault[0] == "refuse")

        self.attempt = who
        self.aws.interrupt = interrupt
        runs = {run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]}
        busy = self._open_run()
        told = len(self.aws.people.told)
        answer, ending = None, "answered"
        try:
            answer = ask()
        except Killed:
            ending = "killed"
        except (AwsError, Refused):
            ending = "raised"
        finally:
            self.aws.interrupt = lambda when, operation: None
        told = len(self.aws.people.told) - told
        started = {run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]} - runs
        assert not (started and busy), "a run was started beside another one"
        if who[0] == "promote":
            assert who[1] is not None
            self.runs_of.setdefault(who[1], set()).update(started)
            if started:
                self._something_is_new(started)
        else:
            assert not started or who[0] == "pin", f"{who[0]} started a run"
        self._people_heard(who[0], answer, ending, told, fault)
        self._audit(who)
        return answer, ending

    # --- what must hold ---

    def _people_heard(self, who: str, answer: Any, ending: str, told: int, fault: Any) -> None:
        assert told <= 1, f"one attempt told people {told} times"
        if who == "pin" or fault:
            return
        if ending == "raised":
            assert told == 1, "what AWS did not do was not told"
        elif who == "follow":
            assert told == bool(answer.databases)
        else:
            silent = answer.outcome in ("updated", "unchanged", "started") or answer.reason in (
                "off-week",
                "nothing-new",
            )
            assert told == (not silent)

    def _audit(self, who: tuple[str, datetime | None]) -> None:
        """Every version of *current* that was just written may have been."""
        for database in self.settings.databases:
            name = database.current_parameter
            ledger = self.aws.parameters.kept[name]
            written = [entry for entry in ledger if entry.version > self.audited[name]]
            self.audited[name] = ledger[-1].version
            for entry in written:
                assert entry.note is not None
                held = {each.value for each in ledger if each.version < entry.version}
                comes_back = entry.note.action in ("undo", "revert") and entry.value in held
                assert comes_back or self._was_eligible(entry.value, database.wanted, who[0]), (
                    f"{name} got {entry.value} from {who[0]}"
                )
                if entry.note.action == "revert":
                    run = next(
                        run
                        for run in self.aws.pipelines.pipelines[PIPELINE]
                        if run.execution_id == self.followed
                    )
                    replaced = ledger[ledger.index(entry) - 1]
                    assert newest_carried(ledger[:-1], run) == replaced, (
                        f"{name} was taken from a run that did not fail"
                    )
                if entry.note.action == "promote":
                    assert who[1] is not None
                    window = self.settings.window
                    assert self.settings.cadence.is_on_week(window.date_of(who[1])), "off-week"
                    assert window.contains(self.aws.time), "outside the window"
                    assert not self._held(), "on hold"

    def _was_eligible(self, value: str, wanted: Wanted, who: str) -> bool:
        share = next((each for each in self.aws.snapshots.all if each.arn == value), None)
        if share is None:
            return False
        if who == "pin":
            return share.arn in self.pinned and pin_rejection(share, wanted) is None
        return rejection(share, wanted) is None and share.age(self.aws.time) <= timedelta(days=14)

    def _held(self) -> bool:
        text = self.aws.values().get(HOLD, "dummyvalue")
        if text == "dummyvalue":
            return False
        with suppress(IndexError):
            return str(self.aws.time.date()) < text.split('"until": "')[1][:10]
        return True

    def _nothing_is_promoted_without_a_run(self, scheduled: datetime) -> None:
        """Once retries are through, unless the very last one was killed."""
        runs = self.aws.pipelines.pipelines[PIPELINE]
        by = f"the schedule of {scheduled.isoformat()}"
        for name in self.currents:
            ledger = self.aws.parameters.kept[name]
            present = ledger[-1]
            if present.promoted(by):
                pin_waits_on = ledger[-2:-1] and ledger[-2].value == present.value
                assert is_carried(present, runs) or pin_waits_on, (
                    f"{name} is promoted, and no run carries it"
                )
            elif present.came_back and present.by == by:
                deployed = {entry.value for run in runs if (entry := newest_carried(ledger, run))}
                assert present.value in deployed | self.pinned | {ledger[0].value}, (
                    f"{name} went back to {present.value}, which was never deployed"
                )

    def _something_is_new(self, started: set[str]) -> None:
        """A promotion's run deploys at least one value that the last successful one did not."""
        before = [
            run
            for run in self.aws.pipelines.pipelines[PIPELINE]
            if run.execution_id not in started and run.status == "Succeeded"
        ]
        deployed = {
            name: newest_carried(self.aws.parameters.kept[name], before[-1]) if before else None
            for name in self.currents
        }
        values = self.aws.values()
        assert any(
            entry is None or entry.value != values[name] for name, entry in deployed.items()
        ), "a run was started that carries nothing new"

    def _nothing_was_left_undone(self, scheduled: datetime) -> None:
        """A killed invocation that is run again ends as one that was not killed."""
        runs = self.aws.pipelines.pipelines[PIPELINE]
        by = f"the schedule of {scheduled.isoformat()}"
        values = self.aws.values()
        assert any(
            is_spent(self.aws.parameters.kept[name], by, runs) for name in self.currents
        ) or all(
            values[each.current_parameter] == values.get(each.latest_parameter)
            for each in self.settings.databases
        ), f"nothing new for {scheduled}, but it has not had its run"

    @invariant()
    def one_scheduled_time_starts_at_most_one_run(self) -> None:
        for scheduled, started in getattr(self, "runs_of", {}).items():
            assert len(started) <= 1, f"{scheduled} started {started}"

    @invariant()
    def good_is_one_version_that_a_successful_run_carried(self) -> None:
        for name in getattr(self, "currents", []):
            ledger = self.aws.parameters.kept[name]
            good = [entry for entry in ledger if entry.good]
            assert len(good) <= 1
            assert not good or good[0].version >= self.good[name], f"{name}: good moved back"
            self.good[name] = good[0].version if good else 0
            succeeded = [
                run
                for run in self.aws.pipelines.pipelines[PIPELINE]
                if run.status == "Succeeded" and good and newest_carried(ledger, run) == good[0]
            ]
            assert not good or succeeded, f"{name}: no successful run carried {good}"

    def _state(self) -> tuple[Any, ...]:
        return (
            [
                (entry.version, entry.value, entry.good)
                for name in self.currents
                for entry in self.aws.parameters.kept[name]
            ],
            [run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]],
        )

    def _open_run(self) -> Any:
        runs = self.aws.pipelines.pipelines[PIPELINE]
        return next((run for run in runs if run.in_progress), None)
