"""Random histories of a refreshed account, and what must hold after every step of them.

The use cases are the real ones, on the AWS in memory. Lambda and EventBridge are played as FACTS has
them: events come late, twice and out of order, an invocation that raises or is killed runs twice
more, and one function's invocations never overlap (its concurrency is reserved).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, PipelineBusyError, RefreshError, Refused
from chalicelib.domain.ledger import Note, already_ran, is_carried, newest_carried
from chalicelib.domain.results import Result
from chalicelib.domain.snapshots import pin_rejection, rejection
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases import hold as holding
from chalicelib.usecases import status as overview
from chalicelib.usecases.follow import Ended, follow
from chalicelib.usecases.pin import Pin, pin, rollback
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from chalicelib.usecases.update_latest import follow_copies, update
from tests import stage
from tests.fakes import InMemoryAws, arn, snapshot
from tests.simulation.model import ENGINES, HOLD, Model
from tests.stage import PIPELINE, PIPELINE_NAME, STAGE

ONE = STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD}
TWO = stage.TWO | {"SSM_REFRESH_HOLD_NAME": HOLD}
START = datetime(2026, 1, 3, 12, tzinfo=UTC)
EVENT = {"Succeeded": "SUCCEEDED", "Failed": "FAILED"} | {
    "Stopped": "STOPPED",
    "Cancelled": "CANCELED",
    "Superseded": "SUPERSEDED",
}


MOVERS = ("pin", "rollback", "refresh")
BY_OPERATORS = (*MOVERS, "hold", "resume", "look")


class Killed(BaseException):
    """The process died: no handler of its runs any more."""


# One fault hits one attempt: what happens, before or after the call took effect, at which call.
# A call is refused before it takes effect; the process may be killed, or the answer lost, either way.
WAYS = st.sampled_from([("kill", "before"), ("kill", "after"), ("refuse", "before")]) | (
    st.sampled_from([("lose", "before"), ("lose", "after")])
)
FAULTS = st.tuples(
    WAYS,
    st.sampled_from(["put", "start", "put", "start", "get", "find", "runs", "history"])
    | st.sampled_from(["_publish", "mark_good", "shared"]),
).map(lambda fault: (*fault[0], fault[1], 1))
# Where it hurts most: between putting *current* and starting the run.
CUTS = st.tuples(WAYS, st.sampled_from(["put", "start"])).map(lambda cut: (*cut[0], cut[1], 1))
# An operator's attempt is hit at any call: the first, second or third of its kind.
BY_HAND = (
    st.none()
    | CUTS
    | st.tuples(
        WAYS,
        st.sampled_from(["put", "start", "get", "find", "runs", "history"]),
        st.sampled_from([1, 2, 3]),
    ).map(lambda fault: (*fault[0], *fault[1:]))
)
LOOKS = st.none() | st.tuples(
    WAYS, st.sampled_from(["get", "find", "runs", "history", "shared"])
).map(lambda fault: (*fault[0], fault[1], 1))
ATTEMPTS = st.lists(st.none() | FAULTS, max_size=3) | FAULTS.map(lambda fault: [fault] * 3)
ENDS = st.sampled_from([None, "Succeeded", "Succeeded", "Failed", "Stopped"])


def side_by_side(
    aws: InMemoryAws, asks: Sequence[Callable[[], object]], order: Sequence[int]
) -> None:
    """Run all to their ends, one AWS call at a time: ``order`` says whose call is next."""
    go = [threading.Semaphore(0) for _ in asks]
    paused = threading.Semaphore(0)
    broken: list[Exception] = []
    turns = {}

    def wait_for_turn(when: str, operation: str) -> None:
        if when == "before":
            paused.release()
            go[turns[threading.get_ident()]].acquire()

    def run(index: int) -> None:
        turns[threading.get_ident()] = index
        broken.extend(_broken(asks[index]))
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
    for error in broken:
        raise error


def _broken(ask: Callable[[], object]) -> list[Exception]:
    """What went wrong, which nobody hears of who does not ask the thread; AWS's failures are no fault."""
    try:
        ask()
    except (AwsError, Refused):
        return []
    except Exception as error:  # noqa: BLE001 (it is raised again, where it is heard)
        return [error]
    return []


def _outcome(verdict: str) -> str:
    if verdict in ("outside-window", "on-hold", "nothing-new"):
        return "skipped"
    return "started" if verdict == "started" else "failed"


class Histories(RuleBasedStateMachine):
    """One account's history. Every rule is a step, every invariant is checked after each."""

    @initialize(two=st.booleans(), placeholder=st.booleans())
    def begin(self, two: bool, placeholder: bool) -> None:
        self.settings = Settings.from_environment(TWO if two else ONE)
        self.aws = InMemoryAws(START)
        self.model = Model(self.settings, self.aws)
        self._bootstrap(placeholder=placeholder)

    def _bootstrap(self, *, placeholder: bool) -> None:
        by_hand = Note("bootstrap", "setup", "")
        self.aws.parameters.put(PIPELINE_NAME, PIPELINE, by_hand)
        self.aws.pipelines.pipelines[PIPELINE] = []
        self.currents = [each.current_parameter for each in self.settings.databases]
        for each in self.settings.databases:
            if placeholder:
                self.aws.parameters.put(each.current_parameter, "dummyvalue", by_hand)
            self.aws.parameters.put(each.current_parameter, arn(f"first-{each.name}"), by_hand)
            engine, version = ENGINES[each.name]
            self.aws.snapshots.all.append(
                snapshot(
                    f"first-{each.name}",
                    cluster=each.name,
                    engine=engine,
                    engine_version=version,
                    created=START - timedelta(days=3),
                )
            )
        self.shares = 0
        self.wished: set[str] = {arn(f"first-{each.name}") for each in self.settings.databases}
        self.fired: list[tuple[str, datetime]] = []
        self.ended: list[Ended] = []
        self.runs_of: dict[datetime, set[str]] = {}
        self.error: RefreshError | None = None
        self.outside_window = False
        self.audited = {name: self.model.present(name).version for name in self.currents}
        self.good = dict.fromkeys(self.currents, 0)

    # --- the aws ---

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
        shared = self.model.shared
        if tie and shared:
            created = shared[-1].created or created
        # Ties go to the greater ARN, which is the one that is listed later.
        facts = {"engine": engine, "engine_version": version, "created": created, **flaw}
        account = facts.pop("account", "111111111111")
        self.aws.snapshots.all.append(
            snapshot(f"s{self.shares:04}", account, cluster=database, **facts)
        )

    @precondition(lambda self: self.model.shared)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["deleted", "failed", "available"]))
    def production_breaks(self, which: int, how: str) -> None:
        shared = self.model.shared
        broken = shared[which % len(shared)]
        index = self.aws.snapshots.all.index(broken)
        if how == "deleted":
            del self.aws.snapshots.all[index]
        else:
            self.aws.snapshots.all[index] = broken._replace(status=how)

    # --- operators ---

    @rule(days=st.integers(-2, 3), fault=BY_HAND)
    def operator_holds(self, days: int, fault: Any) -> None:
        until = (self.aws.time + timedelta(days=days)).date()
        wanted = {"until": str(until), "reason": "test", "by": "kim"}
        answer, verdict = self._by_hand(
            "hold",
            lambda: holding.hold(self.settings, self.aws, until, "kim", "test"),  # type: ignore[arg-type]
            fault,
            writes=HOLD,
        )
        assert fault or verdict == ("done" if days > 0 else "hold-over"), f"a hold is {verdict}"
        if answer:
            assert self.model.hold() == wanted, "a hold does not hold"
            assert answer == {"hold": wanted, "next_restore": self.model.next_restore()}

    @rule(fault=BY_HAND)
    def operator_resumes(self, fault: Any) -> None:
        answer, _ = self._by_hand(
            "resume",
            lambda: holding.resume(self.settings, self.aws, "lee"),  # type: ignore[arg-type]
            fault,
            writes=HOLD,
        )
        assert answer or fault
        if answer:
            assert self.model.hold() is None
            assert answer == {"hold": None, "next_restore": self.model.next_restore()}

    @rule(text=st.sampled_from(["till thursday", "[]", '{"until": "soon"}']))
    def a_hold_cannot_be_read(self, text: str) -> None:
        self.aws.parameters.put(HOLD, text, Note("hold", "kim", ""))

    @precondition(lambda self: self.aws.snapshots.all)
    @rule(which=st.integers(0, 99), deploy=st.booleans(), fault=BY_HAND)
    def operator_pins(self, which: int, deploy: bool, fault: Any) -> None:
        chosen = self.aws.snapshots.all[which % len(self.aws.snapshots.all)]
        index = 1 if chosen.cluster == "docs" and len(self.settings.databases) > 1 else 0
        database = self.settings.databases[index]
        self.wished.add(chosen.arn)
        wish = Pin(chosen.arn, "kim", "try it", deploy)
        expected = self.model.pin(database, chosen.arn, deploy=deploy, unknown="impossible")
        self._moves(
            "pin",
            lambda: pin(self.settings, self.aws, database, wish),  # type: ignore[arg-type]
            fault,
            {database.current_parameter: chosen.arn},
            expected,
            runs=deploy,
        )

    @rule(index=st.integers(0, 1), deploy=st.booleans(), fault=BY_HAND, ends=ENDS)
    def operator_rolls_back(self, index: int, deploy: bool, fault: Any, ends: str | None) -> None:
        database = self.settings.databases[index % len(self.settings.databases)]
        find = self.model.rollback_deploys if deploy else self.model.rollback_goes_to
        goes_to = find(database.current_parameter)
        expected = self.model.rollback(database, goes_to, deploy=deploy)
        self.wished |= {goes_to} if goes_to else set()
        self._moves(
            "rollback",
            lambda: rollback(self.settings, self.aws, database, "lee", "back", deploy=deploy),  # type: ignore[arg-type]
            fault,
            {database.current_parameter: goes_to} if goes_to else {},
            expected,
            runs=deploy,
        )
        self._its_run_ends(ends)

    @rule(
        dry_run=st.booleans(),
        outside_window=st.booleans(),
        faults=st.lists(BY_HAND, min_size=1, max_size=3),
        ends=ENDS,
    )
    def operator_refreshes(
        self, dry_run: bool, outside_window: bool, faults: list[Any], ends: str | None
    ) -> None:
        """A person orders it, and again where it failed, or out of impatience."""
        for fault in faults:
            expected = self.model.refresh(outside_window=outside_window)
            if dry_run:
                self._a_dry_run_tells(expected, outside_window)
            order = RefreshRequest.by_hand("kim", "needed", outside_window=outside_window)
            self.outside_window = outside_window
            self._moves(
                "refresh",
                lambda order=order: refresh_now(self.settings, self.aws, order),  # type: ignore[arg-type]
                fault,
                {
                    each.current_parameter: latest
                    for each in self.settings.databases
                    if (latest := self.model.due(each))
                },
                expected,
                runs=True,
            )
            self.aws.time += timedelta(minutes=2)
        self._its_run_ends(ends)

    @rule(
        hour=st.integers(2, 12),
        outside_window=st.booleans(),
        faults=st.lists(BY_HAND, min_size=1, max_size=2),
        held=st.sampled_from([None, None, None, 1, "unreadable"]),
        regret=st.sampled_from([None, "a rollback", "a pin", "deploy"]),
        ends=ENDS,
    )
    def a_refresh_by_hand_passes(
        self,
        hour: int,
        outside_window: bool,
        faults: list[Any],
        held: Any,
        regret: str | None,
        ends: str | None,
    ) -> None:
        """The whole of it: shares, an update, perhaps a hold, an order, its run and its event.

        A pin or rollback during the run waits for the next one, or is refused.
        """
        self._evening(twins=False)
        self.aws.time = self.aws.time.replace(hour=hour, minute=30)
        if held == "unreadable":
            self.a_hold_cannot_be_read("till thursday")
        elif held:
            self.operator_holds(held, None)
        self.operator_refreshes(True, outside_window, faults, None)
        if regret == "a pin":
            self.operator_pins(0, False, None)
        elif regret:
            self.operator_rolls_back(0, regret == "deploy", None, None)
        self._its_run_ends(ends)

    def _its_run_ends(self, ends: str | None) -> None:
        if ends and self._open_run():
            self.a_run_ends(ends)
            self.an_event_of_the_pipeline_arrives(0, [], 0)

    def _a_dry_run_tells(self, expected: str, outside_window: bool) -> None:
        order = RefreshRequest.by_hand("kim", "rehearsal", outside_window=outside_window)
        answer = self._looks(
            lambda: refresh_now(self.settings, self.aws, order, dry_run=True),  # type: ignore[arg-type]
            None,
        )
        wrong = f"a dry run tells {answer.outcome}, {answer.reason} instead of {expected}"
        assert answer.outcome == _outcome(expected), wrong
        assert answer.reason == (None if expected in ("started", "busy") else expected), wrong
        assert answer.execution_id is None
        verdicts = {step["step"]: step["verdict"] for step in answer.steps}
        assert {verdicts["put"], verdicts["start"]} == {
            "would do" if expected == "started" else "not reached"
        }
        for database, told in zip(self.settings.databases, answer.databases, strict=True):
            latest = self.model.due(database)
            present = self.aws.values()[database.current_parameter]
            assert told["current"] == (latest if expected == "started" else present)

    def _by_hand(
        self, verb: str, ask: Callable[[], Any], fault: Any, *, writes: str | None = None
    ) -> tuple[Any, str]:
        """The answer to an operator, and the verdict: the reason of a refusal, or how it ended."""
        before = self._versions()
        answer, ending = self._attempt((verb, None), ask, fault)
        written = {
            name for name, version in self._versions().items() if version != before.get(name)
        }
        assert written <= ({writes} if writes else set(self.currents)), f"{verb} wrote {written}"
        verdict = "done" if ending == "answered" else ending
        if isinstance(self.error, Refused):
            verdict = self.error.reason
            assert not written, f"{verb} was refused, and wrote"
        elif isinstance(self.error, PipelineBusyError):
            verdict = "busy"
            assert not written, f"the pipeline was busy, and {verb} wrote"
        elif isinstance(answer, Result):
            verdict = answer.reason or answer.outcome
        return answer, verdict

    def _moves(
        self,
        verb: str,
        ask: Callable[[], Any],
        fault: Any,
        wanted: Mapping[str, str],
        expected: str,
        *,
        runs: bool,
    ) -> None:
        """*current* becomes what was ``wanted``, or stays what it was."""
        before = self.aws.values()
        versions = self._versions()
        # What was to be deployed, but was killed before its run, or failed, goes back as well.
        left = {
            name: self.model.before_what_came_to_nothing(name)
            for name in self.currents
            if self.model.came_to_nothing(name)
        }
        count = len(self.model.runs)
        answer, verdict = self._by_hand(verb, ask, fault)
        done = verdict in ("done", "started")
        assert verdict == expected or (fault and verdict in ("raised", "killed")), (
            f"{verb} came to {verdict} instead of {expected}"
        )
        started = self.model.runs[count:]
        assert len(started) <= runs, f"{verb} started {started}"
        for name in self.currents:
            written = [e for e in self.aws.parameters.kept[name] if e.version > versions[name]]
            for entry in written:
                assert entry.note
                assert entry.note.action in (verb, "undo")
                assert entry.note.action == "undo" or entry.value == wanted[name], (
                    f"{verb} put {entry.value} instead of {wanted.get(name)}"
                )
        after = {name: self.aws.values()[name] for name in self.currents}
        stays = {name: before[name] for name in self.currents}
        if done or started:
            assert after == stays | wanted, f"{verb} is done, and left {after}"
        elif verdict != "killed":
            for name in self.currents:
                back = {stays[name], left.get(name) if name in wanted else None}
                assert after[name] in back, f"{verb} failed, and left {after[name]}"
        if done and runs:
            told = answer.execution_id if isinstance(answer, Result) else answer["execution_id"]
            assert [told] == [run.execution_id for run in started]
        self.status_tells_what_is_true()

    def _versions(self) -> dict[str, int]:
        return {name: kept[-1].version for name, kept in self.aws.parameters.kept.items()}

    # --- whoever looks ---

    @rule(
        what=st.sampled_from(["status", "status", "history", "snapshots", "console", "dry run"]),
        fault=LOOKS,
        outside_window=st.booleans(),
    )
    def somebody_looks(self, what: str, fault: Any, outside_window: bool) -> None:
        databases = self.settings.databases
        aws: Any = self.aws
        order = RefreshRequest.by_hand("kim", "rehearsal", outside_window=outside_window)
        questions: dict[str, Callable[[], Any]] = {
            "status": lambda: overview.status(self.settings, aws),
            "history": lambda: [overview.history(self.settings, aws, each) for each in databases],
            "snapshots": lambda: overview.snapshots(aws, databases),
            "console": lambda: overview.console(self.settings, aws),
            "dry run": lambda: refresh_now(self.settings, aws, order, dry_run=True),
        }
        answer = self._looks(questions[what], fault)
        if fault:
            return
        if what == "status":
            self._status_is_true(answer)
        elif what == "history":
            assert answer == [self.model.history(each) for each in databases], "history lies"
        elif what == "snapshots":
            self._verdicts_are_true(answer)
        elif what == "console":
            self._status_is_true(answer["status"])
            self._verdicts_are_true(answer["databases"])
            for each in databases:
                told = answer["databases"][each.name]["history"]
                assert told == self.model.history(each)["history"]
        else:
            self._a_dry_run_tells(self.model.refresh(outside_window=outside_window), outside_window)

    def _looks(self, ask: Callable[[], Any], fault: Any) -> Any:
        before = self._everything()
        answer, ending = self._attempt(("look", None), ask, fault)
        assert self._everything() == before, "a look changed something"
        assert ending == "answered" or fault, f"a look was not answered: {self.error}"
        assert not isinstance(self.error, Refused | PipelineBusyError), f"refused: {self.error}"
        return answer

    def _status_is_true(self, told: dict[str, Any]) -> None:
        told = dict(told)
        problems = told.pop("problems")
        if told["hold"] and told["hold"]["until"] is None:
            told["hold"] = {"until": None}
        true = self.model.status()
        assert told == true, f"status tells {told} instead of {true}"
        expected = list(self.model.problems())
        assert len(problems) == len(expected), f"{problems} are not {expected}"
        for part in expected:
            assert any(part in sentence for sentence in problems), f"{part} is not in {problems}"

    def _verdicts_are_true(self, told: dict[str, Any]) -> None:
        for database in self.settings.databases:
            shares = [
                (each["arn"], each["eligible"], each["chosen"])
                for each in told[database.name]["snapshots"]
            ]
            assert shares == self.model.shares(database), "a share's verdict is wrong"
            one_is_chosen = any(chosen for _, _, chosen in shares)
            assert one_is_chosen == (told[database.name]["message"] is None)

    # --- the pipeline ---

    @precondition(lambda self: self._open_run() is not None)
    @rule(status=st.sampled_from(["Succeeded", "Succeeded", "Failed", "Stopped", "Cancelled"]))
    def a_run_ends(self, status: str) -> None:
        self.aws.time += timedelta(minutes=20)
        run = self._open_run()
        runs = self.aws.pipelines.pipelines[PIPELINE]
        index = runs.index(run)
        runs[index] = run._replace(status=status, updated=self.aws.time)
        self.ended.append(Ended(PIPELINE, run.execution_id, EVENT[status]))

    @rule(status=st.sampled_from([None, "Succeeded", "Failed"]))
    def an_ordinary_deployment_runs(self, status: str | None) -> None:
        """It supersedes one that waits, and carries whatever *current* holds."""
        run = self._open_run()
        if run:
            runs = self.aws.pipelines.pipelines[PIPELINE]
            runs[runs.index(run)] = run._replace(status="Superseded", updated=self.aws.time)
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
        meanwhile=st.sampled_from([None, None, "broken", "busy", "a pin", "a rollback"])
        | st.sampled_from(["a refresh", "a refresh that is killed"]),
        ends=ENDS,
    )
    def a_night_passes(
        self, late: int, attempts: list[Any], held: int, meanwhile: str | None, ends: str | None
    ) -> None:
        """The whole of it: shares, an update, a promotion, its run, and the event of its end."""
        self._evening(twins=held > 6)
        if meanwhile == "broken":
            self.production_breaks(-1 % len(self.model.shared), "failed")
        elif meanwhile == "busy":
            self.an_ordinary_deployment_runs(None)
        elif meanwhile == "a pin":
            self.operator_pins(held, deploy=held % 2 == 0, fault=None)
        elif meanwhile == "a rollback":
            self.operator_rolls_back(held, held % 2 == 0, None, "Succeeded")
        elif meanwhile == "a refresh":
            self.operator_refreshes(False, False, [None], "Succeeded" if held % 2 else None)
        elif meanwhile:
            self.operator_refreshes(False, False, [("kill", "after", "put", 1)], None)
        if held == 0:
            self.operator_holds(2, None)
        self.a_schedule_fires("promote", late, attempts, jump=False)
        self._its_run_ends(ends)

    def _evening(self, *, twins: bool) -> None:
        """Before an on-week's promotion: the pipeline idle, no hold, new data, and recorded."""
        if self._open_run():
            self.a_run_ends("Succeeded")
        self._to_an_on_week()
        for database in self.settings.databases:
            self.production_shares(database.name, 3, {}, tie=False)
            if twins:
                self.production_shares(database.name, 3, {}, tie=True)
        self.operator_resumes(None)
        self.a_schedule_fires("update", 0, [], jump=True)

    def _to_an_on_week(self) -> None:
        if not self.settings.cadence.is_on_week(self._next_sunday(2).date()):
            self.aws.time = self._next_sunday(2) + timedelta(days=1)

    @rule(fault=CUTS | FAULTS, late=st.sampled_from([0, 179, 179]), once=st.booleans())
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
            # First what ended: a promotion may follow from that, but no end from a promotion.
            for event in self.ended:
                self._invoke(("follow", None), lambda event=event: self._follow(event), [])
            for function, scheduled in self._deliverable():
                if function == "promote":
                    self._deliver(function, scheduled, [])
        assert self._state() == before, "a second delivery of everything changed something"

    def _deliver(self, function: str, scheduled: datetime, attempts: list[Any]) -> Result | None:
        use_case = {"update": update, "promote": promote, "copies": follow_copies}[function]
        answer = self._invoke(
            (function, scheduled),
            lambda: use_case(self.settings, self.aws, scheduled),  # type: ignore[arg-type]
            attempts,
        )
        if function == "promote" and answer and answer.outcome == "started":
            values = self.aws.values()
            for database in self.settings.databases:
                assert values[database.current_parameter] == self.model.due(database), (
                    "some databases were promoted, and not all"
                )
        if function == "update" and answer and answer.outcome in ("updated", "unchanged"):
            for database in self.settings.databases:
                self._latest_is_the_newest(database)
        return answer

    def _latest_is_the_newest(self, database: Database) -> None:
        eligible = [
            each for each in self.model.shared if rejection(each, database.criteria) is None
        ]
        newest = max(eligible, key=lambda each: (each.created, each.arn))
        assert self.aws.values()[database.latest_parameter] == newest.arn

    def _follow(self, event: Ended) -> Result:
        self.followed = event.execution_id
        return follow(self.settings, self.aws, event)  # type: ignore[arg-type]

    # --- Lambda ---

    def _invoke(
        self, who: tuple[str, datetime | None], ask: Callable[[], Result], attempts: list[Any]
    ) -> Result | None:
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
        calls = 0

        def interrupt(when: str, operation: str) -> None:
            nonlocal calls
            calls += bool(fault and (when, operation) == fault[1:3])
            if fault and calls == fault[3] and (when, operation) == fault[1:3]:
                if fault[0] == "kill":
                    raise Killed
                raise AwsError(operation, "it", "Fault", "", answered=fault[0] == "refuse")

        self.aws.interrupt = interrupt
        runs = {run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]}
        busy = self._open_run()
        told = len(self.aws.notifier.sent)
        answer, ending, self.error = None, "answered", None
        try:
            answer = ask()
        except Killed:
            ending = "killed"
        except (AwsError, Refused) as error:
            self.error, ending = error, "raised"
        finally:
            self.aws.interrupt = lambda when, operation: None
        told = len(self.aws.notifier.sent) - told
        started = {run.execution_id for run in self.aws.pipelines.pipelines[PIPELINE]} - runs
        assert not (started and busy), "a run was started beside another one"
        if who[0] == "promote":
            assert who[1] is not None
            self.runs_of.setdefault(who[1], set()).update(started)
            if started:
                self._something_is_new(started)
        else:
            assert not started or who[0] in MOVERS, f"{who[0]} started a run"
        self._people_heard(who[0], answer, ending, told, fault)
        self._audit(who)
        return answer, ending

    # --- what must hold ---

    def _people_heard(self, who: str, answer: Any, ending: str, told: int, fault: Any) -> None:
        assert told <= 1, f"one attempt told people {told} times"
        if who == "look":
            assert not told, "people heard of a look"
        if who in BY_OPERATORS or fault:
            return
        if ending == "raised":
            # The poll runs all day, and rings the alarm instead.
            assert told == (who != "copies"), "what AWS did not do was not told"
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
                assert comes_back or self._was_eligible(entry.value, database, who[0]), (
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
                window = self.settings.window
                if entry.note.action == "promote":
                    assert who[1] is not None
                    assert self.settings.cadence.is_on_week(window.date_of(who[1])), "off-week"
                if entry.note.action in ("promote", "refresh"):
                    minded = entry.note.action == "promote" or not self.outside_window
                    assert window.contains(self.aws.time) or not minded, "outside the window"
                    assert not self.model.hold(), "on hold"

    def _was_eligible(self, value: str, database: Database, who: str) -> bool:
        wanted = database.criteria
        share = next((each for each in self.aws.snapshots.all if each.arn == value), None)
        if share is None:
            return False
        if who in ("pin", "rollback"):
            return share.arn in self.wished and pin_rejection(share, wanted) is None
        return rejection(share, wanted) is None and share.age(self.aws.time) <= timedelta(days=14)

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
                assert present.value in deployed | self.wished, (
                    f"{name} went back to {present.value}, which was never deployed"
                )

    def _something_is_new(self, started: set[str]) -> None:
        """A promotion's run deploys at least one value that the last successful one did not.

        Or takes the place of one that had been set since, and waited for a run.
        """
        before = [
            run
            for run in self.model.runs
            if run.execution_id not in started and run.status == "Succeeded"
        ]
        for name in self.currents:
            deployed = self.model.read_by(before[-1], name) if before else None
            if deployed is None or any(
                entry.value != deployed.value
                for entry in self.aws.parameters.kept[name]
                if entry.version > deployed.version
            ):
                return
        raise AssertionError("a run was started that carries nothing new")

    def _nothing_was_left_undone(self, scheduled: datetime) -> None:
        """A killed invocation that is run again ends as one that was not killed."""
        runs = self.aws.pipelines.pipelines[PIPELINE]
        by = f"the schedule of {scheduled.isoformat()}"
        values = self.aws.values()
        assert any(
            already_ran(self.aws.parameters.kept[name], by, runs) for name in self.currents
        ) or all(
            values[each.current_parameter] == self.model.due(each)
            for each in self.settings.databases
        ), f"nothing new for {scheduled}, but it has not had its run"

    @invariant()
    def status_tells_what_is_true(self) -> None:
        if hasattr(self, "model"):
            aws: Any = self.aws
            self._status_is_true(self._looks(lambda: overview.status(self.settings, aws), None))

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

    def _everything(self) -> tuple[Any, ...]:
        kept = {name: tuple(entries) for name, entries in self.aws.parameters.kept.items()}
        snapshots = tuple(self.aws.snapshots.all)
        return kept, snapshots, tuple(self.model.runs), len(self.aws.notifier.sent), self.aws.time

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
