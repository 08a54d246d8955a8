"""Random histories of a refreshed account, and what must hold after every step of them.

The use cases are the real ones, on the AWS in memory. Lambda and EventBridge are played as AWS
documents them: events come late, twice and not at all, an invocation that raises or is killed runs
twice more, and people act between any two calls of an invocation.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, BusyError, RefreshError, Refused
from chalicelib.domain.ledger import Version
from chalicelib.domain.results import Result
from chalicelib.domain.snapshots import pin_rejection
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases import hold as holding
from chalicelib.usecases.pin import PinRequest, pin, rollback
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from chalicelib.usecases.reconcile import follow
from chalicelib.usecases.update_latest import update
from tests.interruptions import Killed
from tests.simulation.model import (
    CORRECTIONS,
    HOLD,
    MACHINE,
    POLL,
    START,
    Model,
    bootstrap,
    offer,
    variables,
)
from tests.simulation.world import Behaviour, Execution, Update, World
from tests.stage import PIPELINE

MOVERS = ("pin", "rollback", "refresh", "promote")
# What happens at a call: before or after it took effect the process dies, or no answer comes; AWS
# refuses it; or somebody does something before it.
WAYS = st.sampled_from(
    [
        ("kill", "before"),
        ("kill", "after"),
        ("lose", "before"),
        ("lose", "after"),
        ("refuse", "before"),
    ]
)
PEOPLE = st.sampled_from(["hand", "inheriting hand", "pin", "pin and deploy", "push", "go on"]).map(
    lambda who: (who, "before")
)
# Where it hurts most comes first: between putting `current`, starting the run and looking again.
CALLS = st.sampled_from(
    ["put", "start", "put", "start", "label", "_publish", "history", "runs"]
) | (st.sampled_from(["get", "find", "actions", "deployed", "shared", "positions", "execution"]))
FAULTS = st.tuples(WAYS | PEOPLE, CALLS, st.sampled_from([1, 1, 2, 3])).map(
    lambda fault: (*fault[0], *fault[1:])
)
ATTEMPTS = st.lists(st.none() | FAULTS, max_size=3) | FAULTS.map(lambda fault: [fault] * 3)
ONE_ATTEMPT = st.none() | FAULTS
# The stage in which a run fails, `skip` for its deploy stage, `wait` for an approval that nobody
# gives, `beside` for a push that fails while it waits for one, `behind` for two that deploy after it
# was denied.
ENDS = st.sampled_from(
    [None, "succeed", "succeed", "beside", "behind", "Build", "Approval", "Deploy", "Test", "skip"]
) | st.just("wait")
FATES = st.sampled_from(["ok"] * 7 + ["fail", "skip"])
MOMENTS = st.sampled_from(["nothing"] * 5 + ["hand", "inheriting hand", "pin", "poll"])
SECONDS = st.sampled_from([0, -20, 20]).map(lambda seconds: timedelta(seconds=seconds))
BEHAVIOURS = st.builds(
    Behaviour,
    queued=st.booleans(),
    change_sets=st.booleans(),
    automatic_rollback=st.booleans(),
    creates_late=st.booleans(),
    resolved_after_rollback=st.sampled_from(["old", "new"]),
    listing_lag=st.sampled_from([0, 0, 20]).map(lambda seconds: timedelta(seconds=seconds)),
    pipeline_clock=SECONDS,
    rds_clock=SECONDS,
    ssm_clock=SECONDS,
)


class Histories(RuleBasedStateMachine):
    """One account's history. Every rule is a step, every invariant is checked after each."""

    @initialize(
        two=st.booleans(),
        stacks=st.sampled_from(["one", "two", "unknown"]),
        prepares=st.booleans(),
        behaviour=BEHAVIOURS,
        history=st.sampled_from(["deployed", "deployed", "first value", "placeholder"])
        | st.just("no parameter"),
    )
    def begin(
        self, two: bool, stacks: str, prepares: bool, behaviour: Behaviour, history: str
    ) -> None:
        self.settings = Settings.from_environment(
            variables(two=two, stacks=stacks, prepares=prepares)
        )
        self.aws = World(START, behaviour)
        self.model = Model(self.settings, self.aws)
        self._bootstrap(stacks, "deployed" if stacks == "unknown" else history)

    def _bootstrap(self, stacks: str, history: str = "deployed") -> None:
        bootstrap(self.settings, self.aws, stacks, history)
        self.shares = self.judged = 0
        self.wished = {each.arn for each in self.aws.snapshots.all}
        self.fired: list[tuple[str, datetime]] = []
        self.events: list[str] = []
        self.runs_of: dict[datetime, set[str]] = {}
        self.audited = self._numbers()
        self.by_others: set[tuple[str, int]] = set()  # versions and runs of people in between
        self.by_hand: set[tuple[str, int]] = set()
        self.their_runs: set[str] = set()
        self.told: Counter[tuple[Any, ...]] = Counter()
        self.excused: Counter[tuple[Any, ...]] = Counter()
        self.next_poll = START
        self.error: RefreshError | None = None
        self.outside_window = False

    # --- production ---

    @rule(
        index=st.integers(0, 1),
        hours=st.integers(0, 20 * 24),
        flaw=st.sampled_from([{}] * 6 + [{"status": "creating"}, {"created": None}])
        | st.sampled_from([{"account": "999999999999"}, {"engine_version": "99.1"}]),
    )
    def production_shares(self, index: int, hours: int, flaw: dict[str, Any]) -> None:
        self.shares += 1
        created = self.aws.time - timedelta(hours=hours)
        facts = {"created": created, **flaw}
        offer(self.aws, self._database(index), f"s{self.shares:04}", facts.pop("created"), **facts)

    @precondition(lambda self: self.model.shared)
    @rule(which=st.integers(0, 99), status=st.sampled_from(["deleted", "failed", "available"]))
    def production_breaks(self, which: int, status: str) -> None:
        broken = self.model.shared[which % len(self.model.shared)]
        index = self.aws.snapshots.all.index(broken)
        if status == "deleted":
            del self.aws.snapshots.all[index]
        else:
            self.aws.snapshots.all[index] = broken._replace(status=status)

    def _database(self, index: int) -> Database:
        return self.settings.databases[index % len(self.settings.databases)]

    # --- operators ---

    @rule(days=st.integers(-1, 3), fault=ONE_ATTEMPT)
    def operator_holds(self, days: int, fault: Any) -> None:
        until = (self.aws.time + timedelta(days=days)).date()
        if days > 0:
            self._attempt(
                "hold", lambda: holding.hold(self.settings, self.aws, until, "kim", "test"), fault
            )
        else:
            self._attempt("hold", lambda: holding.resume(self.settings, self.aws, "lee"), fault)
        hold = self.model.hold()
        assert fault or (hold and hold["until"] == str(until) if days > 0 else hold is None)

    @rule(text=st.sampled_from(["till thursday", "[]", '{"until": "soon"}']))
    def a_hold_cannot_be_read(self, text: str) -> None:
        self.aws.parameters.put_by_hand(HOLD, text)

    @precondition(lambda self: self.aws.snapshots.all)
    @rule(which=st.integers(0, 99), deploy=st.booleans(), fault=ONE_ATTEMPT)
    def operator_pins(self, which: int, deploy: bool, fault: Any) -> None:
        chosen = self.aws.snapshots.all[which % len(self.aws.snapshots.all)]
        index = 1 if chosen.cluster == "docs" else 0
        self._operator(
            "pin", lambda: self._pin(self._database(index), chosen.arn, deploy=deploy), fault
        )

    @rule(index=st.integers(0, 1), deploy=st.booleans(), fault=ONE_ATTEMPT, ends=ENDS)
    def operator_rolls_back(self, index: int, deploy: bool, fault: Any, ends: str | None) -> None:
        self._operator(
            "rollback",
            lambda: rollback(
                self.settings, self.aws, self._database(index), "lee", "back", deploy=deploy
            ),
            fault,
        )
        self._its_run_ends(ends)

    @rule(
        outside_window=st.booleans(),
        faults=st.lists(ONE_ATTEMPT, min_size=1, max_size=2),
        ends=ENDS,
    )
    def operator_refreshes(self, outside_window: bool, faults: list[Any], ends: str | None) -> None:
        """A person asks for it, and again after a failure or out of impatience."""
        for fault in faults:
            self.outside_window = outside_window
            before = self._everything()
            planned, _ = self._attempt("look", lambda: self._refresh(dry_run=True), None)
            assert self._everything() == before, "a dry run changed something"
            result, _ = self._operator("refresh", self._refresh, fault)
            if result and planned and not fault:
                assert (planned.outcome, planned.reason) == (result.outcome, result.reason)
        self._its_run_ends(ends)

    def _refresh(self, *, dry_run: bool = False) -> Result:
        request = RefreshRequest.by_person("kim", "needed", outside_window=self.outside_window)
        return refresh_now(self.settings, self.aws, request, dry_run=dry_run)

    def _pin(self, database: Database, value: str, actor: str = "ann", *, deploy: bool) -> Any:
        self.wished.add(value)
        return pin(self.settings, self.aws, database, PinRequest(value, actor, "try", deploy))

    def _operator(self, verb: str, ask: Callable[[], Any], fault: Any) -> tuple[Any, str]:
        """Do what an operator asks; a refusal changes nothing, and an answer tells what is so."""
        before, runs = self.aws.values(), self._ours()
        result, ending = self._attempt(verb, ask, fault)
        started = self._ours() - runs - self.their_runs
        if isinstance(self.error, Refused | BusyError) and not fault:
            assert self.aws.values() == before, f"{verb} was refused, and wrote: {self.error}"
        if ending == "answered":
            told = result.execution_id
            # The same request twice is answered with the run that the first one started.
            assert started <= {told}, f"{verb} says {told}, not {started}"
            assert told is None or told in self._ours() - self.their_runs, f"{told} is not its run"
            if told and not fault and not isinstance(result, Result):
                latest = [self.model.ledger(each)[-1:] for each in self.settings.databases]
                set_now = [(each[0].action, each[0].value) for each in latest if each]
                assert (verb, result.current) in set_now, f"{result.current} was not set"
        elif ending == "raised":
            assert not started or not getattr(self.error, "answered", True), "an unsaid run"
        self._pass_time(2)  # whoever acts within the difference of two clocks may be misjudged
        return result, ending

    @rule(index=st.integers(0, 1), which=st.integers(0, 99), inherits=st.booleans())
    def somebody_puts_by_hand(self, index: int, which: int, inherits: bool) -> None:
        """Parameter Store keeps the Description of the version before if none is given."""
        database = self._database(index)
        suited = [each.arn for each in self.aws.snapshots.all if each.cluster == database.name]
        name = database.current_parameter
        if suited:
            number = self.aws.parameters.put_by_hand(
                name, suited[which % len(suited)], inherits=inherits
            )
            self.by_others.add((name, number))
            *earlier, put = self.model.ledger(database)
            # A Description that was written for this very value cannot be told from our own.
            if not (inherits and any(each.value == put.value and each.note for each in earlier)):
                self.by_hand.add((name, number))

    def _intrude(self, who: str, which: int) -> None:
        """Somebody acts between two calls of another's invocation."""
        interrupt, self.aws.interrupt = self.aws.interrupt, lambda when, operation: None
        before, runs = self._numbers(), self._ours()
        try:
            if who in ("hand", "inheriting hand"):
                self.somebody_puts_by_hand(which, which, who != "hand")
            elif who in ("pin", "pin and deploy") and self.aws.snapshots.all:
                chosen = self.aws.snapshots.all[which % len(self.aws.snapshots.all)]
                index = 1 if chosen.cluster == "docs" else 0
                self._pin(self._database(index), chosen.arn, "bea", deploy=who != "pin")
            elif who == "push":
                self.aws.begin()
            elif who == "poll":
                poll(self.settings, self.aws)
            elif who == "go on":
                for each in self.aws.live:
                    self.aws.go_on(each)
        except RefreshError:
            pass
        finally:
            self.aws.interrupt = interrupt
            self.by_others |= set(self._numbers().items()) - set(before.items())
            self.their_runs |= self._ours() - runs

    # --- the pipeline ---

    @rule(trigger=st.sampled_from(["Webhook", "CloudWatchEvent", "StartPipelineExecution"]))
    def a_run_begins(self, trigger: str) -> None:
        """Somebody pushes, or releases a change by hand."""
        self.aws.begin(trigger)

    @precondition(lambda self: self.aws.live)
    @rule(
        which=st.integers(0, 9),
        fate=FATES,
        moment=MOMENTS,
        minutes=st.sampled_from([0, 0, 1, 10, 90, 3000]),
        event=st.sampled_from(["heard", "heard", "lost"]),
        attempts=ATTEMPTS,
    )
    def the_pipeline_goes_on(
        self, which: int, fate: str, moment: str, minutes: int, event: str, attempts: list[Any]
    ) -> None:
        process = self.aws.live[which % len(self.aws.live)]
        if moment != "nothing":
            self.aws.moment = lambda: self._intrude(moment, which)
        self._step(process, fate, minutes, event, attempts)
        self.aws.moment = lambda: None

    def _step(
        self,
        process: Execution | Update,
        fate: str,
        minutes: int,
        event: str = "heard",
        attempts: Sequence[Any] = (),
    ) -> None:
        self.aws.go_on(process, fate)
        self._audit(("a run", None))
        self._pass_time(minutes)
        if isinstance(process, Execution) and not process.is_live:
            self._ends(process, event, attempts)

    def _ends(self, run: Execution, event: str = "heard", attempts: Sequence[Any] = ()) -> None:
        self.events.append(run.execution_id)
        if event == "heard":
            self._pass_time(2)  # by then the run is listed as ended
            self.an_event_of_the_pipeline_arrives(list(attempts))

    @precondition(lambda self: self.events)
    @rule(attempts=ATTEMPTS)
    def an_event_of_the_pipeline_arrives(self, attempts: list[Any]) -> None:
        """Late, twice, out of order: an event of the past may arrive at any time."""
        self._invoke("follow", None, lambda: follow(self.settings, self.aws, PIPELINE), attempts)

    @precondition(lambda self: self.aws.executions)
    @rule(
        which=st.integers(0, 9),
        how=st.sampled_from(["retry", "retry", "roll back", "stop", "abandon", "cancel"]),
    )
    def somebody_acts_on_a_run(self, which: int, how: str) -> None:
        live = [each for each in self.aws.executions if each.is_live]
        failed = [each for each in self.aws.executions if self.aws.may_retry(each)]
        if how == "retry" and failed:
            self.aws.retry(failed[which % len(failed)])
        elif how == "roll back" and self.aws.may_roll_back():
            self.aws.begin("ManualRollback", rolls_back=True)
        elif how in ("stop", "abandon", "cancel") and live:
            # Without a stack to look at, nobody sees what an abandoned action goes on to do.
            abandons = how != "stop" and self.settings.databases[0].stack is not None
            run = live[which % len(live)]
            self.aws.stop(
                run, "Cancelled" if how == "cancel" and abandons else "Stopped", abandons=abandons
            )
            if not run.is_live:
                self._ends(run, "lost")
        self._pass_time(2)

    @rule(stage=st.sampled_from(["Approval", "Deploy", "Test"]))
    def somebody_disables_a_transition(self, stage: str) -> None:
        self.aws.disabled ^= {stage}

    @rule()
    def somebody_continues_a_rollback(self) -> None:
        self.aws.continue_rollback()

    # --- the after-restore work ---

    @precondition(lambda self: self.aws.state_machines.statuses)
    @rule(
        which=st.integers(0, 9),
        status=st.sampled_from(["SUCCEEDED", "FAILED", "TIMED_OUT", "redriven", "RUNNING"]),
    )
    def the_preparation_goes_on(self, which: int, status: str) -> None:
        """It ends, or somebody redrives one that has failed, which continues the same execution."""
        statuses = self.aws.state_machines.statuses
        name = [*statuses][-1 - which % len(statuses)]
        if statuses[name] == "RUNNING":
            statuses[name] = "FAILED" if status == "redriven" else status
        elif status == "redriven" and statuses[name] != "SUCCEEDED":
            statuses[name] = "RUNNING"

    @rule()
    def the_state_machine_is_gone_for_a_while(self) -> None:
        self.aws.state_machines.missing ^= {MACHINE}

    def _its_run_ends(self, ends: str | None) -> None:
        """The newest run goes on to its end, or to an approval that nobody gives."""
        if ends is None or not self.aws.executions:
            return
        run = self.aws.executions[-1]
        for _ in range(24):
            process = next((each for each in self.aws.updates if each.is_live), run)
            inside = isinstance(process, Update) or process.is_inside
            stage = "Deploy" if isinstance(process, Update) else process.stage
            if not run.is_live or (ends == "wait" and inside and stage == "Approval"):
                break
            if ends == "beside" and inside and stage == "Approval":
                push, ends = self.aws.begin(), "succeed"
                self._step(push, "fail", 5)
            if ends == "behind" and inside and stage == "Approval":
                self._is_denied_before_two_pushes(run)
                break
            fails = inside and stage == ends and (stage != "Deploy" or process is not run)
            fate = "skip" if ends == "skip" and stage == "Deploy" else "fail" if fails else "ok"
            self._step(process, fate, 5)

    def _is_denied_before_two_pushes(self, run: Execution) -> None:
        """The first deploys as soon as it can, the second right behind it; polls come in between."""
        first = self.aws.begin()
        self.aws.go_on(first)
        self._step(run, "fail", 0, "lost")
        for _ in range(3):
            self.aws.go_on(first)
        second = self.aws.begin()
        for _ in range(3):
            self.aws.go_on(second)
        self._pass_time(30)
        for _ in range(20):
            for each in self.aws.live:
                self.aws.go_on(each)
            self.aws.time += timedelta(minutes=1)  # a restore takes longer than clocks differ

    # --- the schedules ---

    @rule(
        late=st.sampled_from([0, 0, 2, 178, 179, 400]),
        attempts=ATTEMPTS,
        meanwhile=st.sampled_from([None, None, "broken", "busy", "pin", "pin and deploy"])
        | st.sampled_from(["rollback", "refresh", "killed", "hold"]),
        ends=ENDS,
        again=st.booleans(),
    )
    def a_night_passes(
        self,
        late: int,
        attempts: list[Any],
        meanwhile: str | None,
        ends: str | None,
        again: bool = False,
    ) -> None:
        """The whole of it: shares, an update, a promotion, its run, and the event of its end."""
        self._evening()
        if meanwhile == "broken":
            self.production_breaks(-1 % len(self.model.shared), "failed")
        elif meanwhile == "busy":
            self.a_run_begins("Webhook")
        elif meanwhile in ("pin", "pin and deploy"):
            self.operator_pins(late, meanwhile != "pin", None)
        elif meanwhile == "rollback":
            self.operator_rolls_back(late, late % 2 == 0, None, "succeed")
        elif meanwhile in ("refresh", "killed"):
            fault = ("kill", "after", "put", 1) if meanwhile == "killed" else None
            self.operator_refreshes(False, [fault], "succeed" if late else None)
        elif meanwhile == "hold":
            self.operator_holds(1, None)
        result = self._fire("promote", late, attempts)
        if not (meanwhile or attempts or late > 178):
            assert getattr(result, "outcome", None) == "started", f"not promoted: {result}"
        self._its_run_ends(ends)
        if again:
            self._pass_time(1)
            self._deliver("promote", self.fired[-1][1], [])

    @rule(fault=FAULTS, late=st.sampled_from([0, 179]), once=st.booleans(), ends=ENDS)
    def a_bad_night_passes(self, fault: Any, late: int, once: bool, ends: str | None) -> None:
        """The same goes wrong in every attempt, or in the first."""
        self.a_night_passes(late, [fault] if once else [fault] * 3, None, ends)
        if once and late == 0 and fault[0] in ("kill", "lose", "refuse"):
            assert self.runs_of[self.fired[-1][1]], "a retry does not do what was left undone"

    @rule(ends=st.sampled_from(["succeed", "Test", "Deploy", "skip", "Build"]))
    def a_quiet_night_passes(self, ends: str) -> None:
        self.a_night_passes(0, [], None, ends)

    def _evening(self) -> None:
        """Before an on-week's promotion: the pipeline idle, no hold, new data, and recorded."""
        self.all_settles(repairs=True)
        self._to_an_on_week()
        for index in (0, 1, 1):  # the last two are of the same minute
            self.production_shares(index, 3, {})
        self.operator_holds(-1, None)
        self.a_schedule_fires("update", 0, [], jump=True)

    def _to_an_on_week(self) -> None:
        if not self.settings.cadence.is_on_week(self._next_sunday(2).date()):
            self._pass_until(self._next_sunday(2) + timedelta(days=1))

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
        self._fire(function, late, attempts)

    def _fire(self, function: str, late: int, attempts: list[Any]) -> Result | None:
        sunday = self._next_sunday(2 if function == "update" else 4)
        self._pass_until(sunday + timedelta(minutes=late))
        self.fired.append((function, sunday))
        return self._deliver(function, sunday + timedelta(seconds=late % 60), attempts)

    def _next_sunday(self, hour: int) -> datetime:
        day = self.aws.time + timedelta(days=(6 - self.aws.time.weekday()) % 7)
        sunday = day.replace(hour=hour, minute=0, second=0, microsecond=0)
        return sunday if sunday >= self.aws.time else sunday + timedelta(days=7)

    def _deliverable(self) -> list[tuple[str, datetime]]:
        """EventBridge tries to deliver an event for at most 24 hours."""
        day = timedelta(hours=24)
        return [each for each in self.fired if self.aws.time - each[1] <= day]

    @precondition(lambda self: self._deliverable())
    @rule(which=st.integers(0, 5), attempts=ATTEMPTS)
    def a_schedules_event_arrives_again(self, which: int, attempts: list[Any]) -> None:
        events = self._deliverable()
        self._pass_time(1)  # by then a run that has just been started is listed
        self._deliver(*events[-1 - which % len(events)], attempts)

    def _deliver(self, function: str, scheduled: datetime, attempts: list[Any]) -> Result | None:
        use_case = {"update": update, "promote": promote}[function]
        result = self._invoke(
            function, scheduled, lambda: use_case(self.settings, self.aws, scheduled), attempts
        )
        alone = all(each is None or each[0] in ("kill", "lose", "refuse") for each in attempts)
        if function == "promote" and alone and result and result.outcome == "started":
            for each in self.settings.databases:
                assert self.model.due(each) in (self.model.current(each), self.model.truth(each)), (
                    "some databases were promoted, and not all"
                )
        if function == "update" and result and result.outcome in ("updated", "unchanged"):
            for database in self.settings.databases:
                self._latest_is_the_newest(database)
        return result

    def _latest_is_the_newest(self, database: Database) -> None:
        eligible = [each for each in self.model.shared if self.model.eligible(each, database)]
        newest = max(eligible, key=lambda each: (each.created, each.arn))
        assert self.model.latest(database) == newest.arn

    # --- time and polls ---

    @rule(minutes=st.sampled_from([1, 5, 30, 240, 1440]))
    def time_passes(self, minutes: int) -> None:
        self._pass_time(minutes)

    def _pass_time(self, minutes: float) -> None:
        self._pass_until(self.aws.time + timedelta(minutes=minutes))

    def _pass_until(self, end: datetime) -> None:
        """Poll every quarter of an hour; of a long time the first and the last do."""
        for _ in range(3):
            if self.next_poll <= end:
                self.aws.time = max(self.aws.time, self.next_poll)
                self.a_poll_comes([])
        if self.next_poll <= end:
            self.aws.time = end
            self.a_poll_comes([])
        self.aws.time = max(self.aws.time, end)

    @rule(attempts=ATTEMPTS)
    def a_bad_poll_comes(self, attempts: list[Any]) -> None:
        self.a_poll_comes(attempts)

    def a_poll_comes(self, attempts: list[Any]) -> str:
        """Return how it ended."""
        self.next_poll = self.aws.time + POLL
        result = self._invoke("poll", None, lambda: poll(self.settings, self.aws), attempts)
        return "answered" if result else "failed"

    @rule(repairs=st.booleans(), prepared=st.sampled_from(["SUCCEEDED", "FAILED"]))
    def all_settles(self, repairs: bool, prepared: str = "SUCCEEDED") -> None:
        """Every run comes to its end and the polls are done: nothing is left to do or to tell."""
        if repairs:
            self.aws.continue_rollback()
        before = {each.execution_id for each in self.aws.executions if each.is_live}
        self.model.settle(lambda: self.a_poll_comes([]), prepared)
        self.events += [each for each in sorted(before) if each not in self.events]
        is_unknown = self.model.check_quiet()
        if not is_unknown:
            self.model.check_ends()
        written, sent = self.model.ledgers(), len(self.aws.notifier.sent)
        self.aws.calls.clear()
        poll(self.settings, self.aws)
        assert (self.model.ledgers(), len(self.aws.notifier.sent)) == (written, sent), (
            "a poll with nothing to do wrote or told something"
        )
        if len(self.settings.databases) == 1 and not is_unknown:
            (database,) = self.settings.databases
            budget = 10 if self.settings.has_copies else 6
            budget += database.after_restore is not None  # until it is prepared
            assert len(self.aws.calls) <= budget, f"a poll made {self.aws.calls}"

    # --- Lambda ---

    def _invoke(
        self,
        who: str,
        scheduled: datetime | None,
        ask: Callable[[], Result],
        attempts: Sequence[Any],
    ) -> Result | None:
        """Make up to three attempts, a minute and two apart; return the result of the last."""
        for delay, fault in zip((0, 1, 2), [*attempts, None, None, None], strict=False):
            self.aws.time += timedelta(minutes=delay)
            result, ending = self._attempt(who, ask, fault, scheduled)
            if ending == "answered":
                break
        return result

    def _attempt(
        self, who: str, ask: Callable[[], Any], fault: Any, scheduled: datetime | None = None
    ) -> tuple[Any, str]:
        calls = 0

        def interrupt(when: str, operation: str) -> None:
            nonlocal calls
            if not fault or (when, operation) != fault[1:3]:
                return
            calls += 1
            if calls == fault[3]:
                self._strike(fault[0], operation, len(self.aws.calls))

        self.aws.interrupt = interrupt
        runs, theirs, sent = self._ours(), set(self.their_runs), len(self.aws.notifier.sent)
        listed = [each for each in self.aws.pipelines.listed(PIPELINE) if each.in_progress]
        result, ending, self.error = None, "answered", None
        try:
            result = ask()
        except Killed:
            ending = "killed"
        except RefreshError as error:
            self.error, ending = error, "raised"
        finally:
            self.aws.interrupt = lambda when, operation: None
        started = self._ours() - runs - (self.their_runs - theirs)
        assert not (started and listed), f"{who} started a run beside {listed}"
        assert not started or who in MOVERS, f"{who} started a run"
        if scheduled and who == "promote":
            minute = scheduled.replace(second=0)
            self.runs_of.setdefault(minute, set()).update(started)
        self._hear(who, result, ending, self.aws.notifier.sent[sent:], fault)
        self._audit((who, scheduled))
        return result, ending

    def _strike(self, way: str, operation: str, which: int) -> None:
        if way == "kill":
            raise Killed
        if way in ("refuse", "lose"):
            raise AwsError(operation, "it", "Fault", "", answered=way != "lose")
        self._intrude(way, which)

    # --- what must hold ---

    def _hear(self, who: str, result: Any, ending: str, sent: Sequence[Any], fault: Any) -> None:
        if who in ("look", "hold", "pin", "rollback", "refresh"):
            assert not sent, f"people were notified of a {who}"
        elif who in ("update", "promote"):
            assert len(sent) <= 1, f"one attempt told people {len(sent)} times"
            if not fault:
                is_silent = ending == "answered" and (
                    result.outcome in ("updated", "unchanged", "started")
                    or result.reason in ("off-week", "nothing-new")
                )
                assert len(sent) == (not is_silent), f"{who} told {sent}"
        else:
            for each in sent:
                key = self._end_told(each)
                self.told[key] += 1
                self.excused[key] += bool(fault)
                assert self.told[key] <= 1 + self.excused[key], f"told again: {key}"

    def _end_told(self, notification: Any) -> tuple[Any, ...]:
        """Return what tells one end from another; what is unknown is told of each version anew.

        The same person may refresh with the same snapshot and words twice: the thread tells them apart.
        """
        is_unknown = notification.attributes.get("reason") == "deployed-unknown"
        numbers = tuple(self._numbers().values()) if is_unknown else ()
        return (notification.subject, notification.body, notification.thread, numbers)

    def _audit(self, who: tuple[str, datetime | None]) -> None:
        """Every version of `current` that was just written may have been."""
        for database in self.settings.databases:
            name = database.current_parameter
            ledger = self.model.ledger(database)
            for version in ledger:
                if version.number > self.audited.get(name, 0):
                    earlier = [each for each in ledger if each.number < version.number]
                    self._audit_one(database, version, earlier, *who)
        self.audited = self._numbers()

    def _audit_one(
        self,
        database: Database,
        version: Version,
        earlier: Sequence[Version],
        who: str,
        scheduled: datetime | None,
    ) -> None:
        name = f"version {version.number} of {database.name} ({version.action} by {who})"
        if (database.current_parameter, version.number) in self.by_others:
            return
        if any((each.value, each.note) == (version.value, version.note) for each in earlier):
            return  # what somebody else had set was put back
        if version.action in CORRECTIONS:
            assert any(each.value == version.value for each in earlier), f"{name} is invented"
            self._may_correct(database, version, earlier[-1], name)
            return
        share = next((each for each in self.aws.snapshots.all if each.arn == version.value), None)
        assert share, f"{name} does not exist"
        if version.action in ("pin", "rollback"):
            assert pin_rejection(share, database.criteria) is None, f"{name} is not eligible"
            assert version.value in self.wished or who == "rollback", f"{name}: nobody asked for it"
            return
        assert version.action in ("promote", "refresh"), name
        assert self._was_promotable(database, version.value), f"{name} is not promotable"
        window = self.settings.window
        if version.action == "promote":
            assert scheduled, name
            assert self.settings.cadence.is_on_week(window.date_of(scheduled)), f"{name}: off-week"
        ignores = version.action == "refresh" and self.outside_window
        assert ignores or window.contains(self.aws.time), f"{name}: outside the window"
        assert not self.model.hold(), f"{name}: on hold"

    def _may_correct(
        self, database: Database, version: Version, corrected: Version, name: str
    ) -> None:
        """Nobody's own is corrected, nor what its own run may still restore, unless it is put back."""
        overruled = (corrected.value, corrected.note)
        later = [each for each in self.model.ledger(database) if each.number > version.number]
        if any((each.value, each.note) == overruled for each in later):
            return
        key = (database.current_parameter, corrected.number)
        assert key not in self.by_hand, f"{name} takes back what a person has put"
        run = self.aws.own_run(corrected.token)
        assert not (run and run.is_live), f"{name} takes back what {run} may still restore"

    def _was_promotable(self, database: Database, value: str) -> bool:
        return self.model.is_promotable(database, value)

    @invariant()
    def status_tells_what_is_true(self) -> None:
        if hasattr(self, "model"):
            self.model.check_status()

    @invariant()
    def no_database_is_replaced_by_surprise(self) -> None:
        if hasattr(self, "model"):
            self.judged = self.model.check_replacements(self.judged)

    @invariant()
    def good_is_one_version_that_a_successful_run_restored(self) -> None:
        if hasattr(self, "model"):
            self.model.check_good()

    @invariant()
    def one_scheduled_time_starts_at_most_one_run(self) -> None:
        for scheduled, started in getattr(self, "runs_of", {}).items():
            assert len(started) <= 1, f"{scheduled} started {started}"

    def _ours(self) -> set[str]:
        """Return the runs that the application has started."""
        return self.aws.pipelines.started

    def _numbers(self) -> dict[str, int]:
        return {
            each.current_parameter: ledger[-1].number
            for each in self.settings.databases
            if (ledger := self.model.ledger(each))
        }

    def _everything(self) -> tuple[Any, ...]:
        kept = {name: tuple(versions) for name, versions in self.aws.parameters.kept.items()}
        return kept, tuple(self.aws.executions), len(self.aws.notifier.sent)
