"""Random histories of a stage, and what must hold after every step of them.

The use cases are the real ones, on the AWS in memory. Lambda and EventBridge are played as AWS
documents them: events come late, twice and not at all, an invocation that raises or is killed runs
twice more, and people act between any two calls of an invocation. One stage in two promotes copies:
RDS finishes, fails and loses them, shares and keys change, and strangers take snapshots like them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import datetime, timedelta
from functools import partial
from operator import methodcaller
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, BusyError, RefreshError, Refused
from chalicelib.domain.ledger import Version
from chalicelib.domain.results import Result
from chalicelib.usecases import hold as holding
from chalicelib.usecases.pin import pin
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import promote, refresh_now
from chalicelib.usecases.reconcile import reconcile
from chalicelib.usecases.update_latest import update
from tests.fakes import ACCEPTANCE, arn
from tests.interruptions import Killed, meanwhile, raised
from tests.simulation.account import Behaviour, Execution, SimulatedAws
from tests.simulation.model import (
    CORRECTIONS,
    HOLD,
    MACHINE,
    POLL,
    START,
    Model,
    StageSettings,
    bootstrap,
    offer,
    variables,
)
from tests.stage import PIPELINE

# What goes wrong in each attempt, if anything.
Attempts = Sequence[Any]

MOVERS = ("pin", "rollback", "refresh", "promote")
KEYS = ("alias/acceptance", "alias/another")

# What happens at a call: before or after it took effect the process dies, or no answer comes; AWS
# refuses it; or somebody does something before it.
FAILURES = [("kill", "before"), ("kill", "after"), ("lose", "before"), ("lose", "after")]
FAILURES += [("refuse", "before")]
PEOPLE = ["hand", "inheriting hand", "pin", "pin and deploy", "push", "go on"]
# Which other function may run during one. A person may pin an old copy just as a poll deletes it,
# which is beyond what is promised.
COPYING = ("update", "poll", "copies end")
BESIDE = {"update": COPYING, "poll": COPYING, "promote": ("poll",), "a run": ("poll",)}
WAYS = st.sampled_from(FAILURES)
WAYS |= st.sampled_from([(who, "before") for who in (*PEOPLE, "update", "poll", "copies end")])
# Where it hurts most comes first: between putting `current`, starting the run and looking again.
CALLS = st.sampled_from(["put", "start"])
CALLS |= st.sampled_from(["label", "_publish", "history", "runs", "execution"])
CALLS |= st.sampled_from(["get", "find", "actions", "describe", "shared", "copy", "own", "delete"])
FAULTS = st.tuples(WAYS, CALLS, st.sampled_from([1, 1, 2, 3]))
ONE_ATTEMPT = st.none() | FAULTS
ATTEMPTS = st.lists(ONE_ATTEMPT, max_size=3)
ATTEMPTS |= st.tuples(FAULTS) | FAULTS.map(lambda fault: [fault] * 3)


def is_alone(attempts: Attempts) -> bool:
    """Return whether nobody acts between the calls of these attempts."""
    return all(fault is None or fault[0] in FAILURES for fault in attempts)


# What else happens in a night before its promotion.
MEANWHILE = {
    "broken": methodcaller("a_snapshot_breaks", -1, "failed"),
    "busy": methodcaller("a_run_begins", "Webhook"),
    "hold": methodcaller("operator_holds", 1),
    "unreadable hold": methodcaller("somebody_changes_the_account", "hold"),
    "pin": methodcaller("operator_pins", -2),
    "pin and deploy": methodcaller("operator_pins", 0, deploy=True),
    "rollback": methodcaller("operator_rolls_back", 0, deploy=True),
    "refresh": methodcaller("operator_refreshes", ends="succeed"),
    "killed": methodcaller("operator_refreshes", faults=[(("kill", "after"), "put", 1)]),
}
# Where a run fails: in a stage or its stack's update; `skip` is for its deploy stage, `wait` for an
# approval that nobody gives.
ENDS = st.sampled_from([None, "succeed", "succeed", "Build", "Approval", "Deploy", "Update"])
ENDS |= st.sampled_from(["Test", "skip", "wait"])
FATES = st.sampled_from(["ok"] * 7 + ["fail", "skip"])
MOMENTS = st.sampled_from(["nothing"] * 5 + ["hand", "inheriting hand", "pin", "poll"])
INDEX, WHICH = st.integers(0, 1), st.integers(0, 99)
SECONDS = st.sampled_from([0, -20, 20]).map(lambda seconds: timedelta(seconds=seconds))
BEHAVIOURS = st.builds(
    Behaviour,
    queued=st.booleans(),
    change_sets=st.booleans(),
    automatic_rollback=st.booleans(),
    creates_late=st.booleans(),
    replaces=st.sampled_from([False, False, False, True]),
    resolved_after_rollback=st.sampled_from(["old", "new"]),
    listing_lag=st.sampled_from([0, 0, 20]).map(lambda seconds: timedelta(seconds=seconds)),
    pipeline_clock=SECONDS,
    rds_clock=SECONDS,
    ssm_clock=SECONDS,
    copies_keep_date=st.booleans(),
    copies_at_once=st.sampled_from([False, False, False, True]),
)


STAGES = st.fixed_dictionaries(
    {
        "two": st.booleans(),
        "stacks": st.sampled_from(["one", "two", "unknown"]),
        "prepares": st.booleans(),
        "copied": st.sampled_from([[], ["RDS"], [], ["RDS", "DOCS"]]),
        "keep": st.sampled_from(["1", "1", "2"]),
    }
)
HISTORIES = st.sampled_from(["deployed", "deployed", "first value", "placeholder", "no parameter"])


def of_copies(**arguments: Any) -> Callable[[Any], Any]:
    """Make it a step of histories with copies only."""
    return lambda step: precondition(lambda self: self.copied)(rule(**arguments)(step))


class Histories(RuleBasedStateMachine):
    """One account's history. Every rule is a step, every invariant is checked after each."""

    @initialize(stage=STAGES, behaviour=BEHAVIOURS, history=HISTORIES)
    def begin(self, stage: dict[str, Any], behaviour: Behaviour, history: str) -> None:
        self.stage, self.copied = stage, stage["copied"]
        self.aws = SimulatedAws(START, behaviour)
        self.aws.snapshots.judge = self._may_be_deleted
        self.the_stage_is_deployed_with(KEYS[0])
        is_known = stage["stacks"] != "unknown"
        bootstrap(self.settings, self.aws, stage["stacks"], history if is_known else "deployed")
        self.shares = self.judged = 0
        self.fired: dict[str, datetime] = {}
        self.runs_of: dict[datetime, set[str]] = {}
        self.audited = self._versions()
        self.by_hand: set[tuple[str, int]] = set()
        self.earlier_runs: set[str] = set()  # of ours, and those of people in between
        self.notified: set[Any] = set()
        self.recovered = Counter[str]()  # of what people are notified again if it comes back
        self.next_poll = START

    def _database(self, index: int) -> Database:
        return self.settings.databases[index % len(self.settings.databases)]

    # --- production ---

    @rule(index=INDEX, hours=st.integers(0, 20 * 24))
    def production_shares(self, index: int = 0, hours: int = 0) -> None:
        self.shares += 1
        created = self.aws.time - timedelta(hours=hours)
        offer(self.aws, self._database(index), f"s{self.shares:04}", created)

    @precondition(lambda self: self.model.shared)
    @rule(which=WHICH, status=st.sampled_from(["deleted", "failed", "available"]))
    def a_snapshot_breaks(self, which: int, status: str) -> None:
        """Production's; an operator may delete a copy as well."""
        found = self.aws.snapshots.all if status == "deleted" else self.model.shared
        self.aws.snapshots.change(found[which % len(found)].arn, status)

    # --- operators ---

    @rule(days=st.integers(-1, 3), fault=ONE_ATTEMPT)
    def operator_holds(self, days: int, fault: Any = None) -> None:
        until = (self.aws.time + timedelta(days=days)).date()
        ask: Callable[[], Any] = partial(holding.resume, self.settings, self.aws, "lee")
        if days > 0:
            ask = partial(holding.hold, self.settings, self.aws, until, "kim", "test")
        self._attempt("hold", ask, fault)
        assert fault or self.model.hold() == (str(until) if days > 0 else None)

    @precondition(lambda self: self.aws.snapshots.all)
    @rule(which=WHICH, deploy=st.booleans(), fault=ONE_ATTEMPT)
    def operator_pins(self, which: int, deploy: bool = False, fault: Any = None) -> None:
        self._operator("pin", partial(self._pin, which, "ann", deploy=deploy), fault)

    def _pin(self, which: int, actor: str, *, deploy: bool) -> Any:
        chosen = self.aws.snapshots.all[which % len(self.aws.snapshots.all)]
        database = self._database(1 if chosen.cluster == "docs" else 0)
        asked = {"actor": actor, "reason": "try", "deploy": deploy, "snapshot": chosen.arn}
        return pin(self.settings, self.aws, database, **asked)

    @rule(index=INDEX, deploy=st.booleans(), fault=ONE_ATTEMPT, ends=ENDS)
    def operator_rolls_back(
        self, index: int, deploy: bool, fault: Any = None, ends: str | None = "succeed"
    ) -> None:
        database = self._database(index)
        asked = {"actor": "lee", "reason": "back", "deploy": deploy}
        self._operator("rollback", partial(pin, self.settings, self.aws, database, **asked), fault)
        self._its_run_ends(ends)

    @rule(outside_window=st.booleans(), faults=ATTEMPTS, ends=ENDS)
    def operator_refreshes(
        self, outside_window: bool = False, faults: Attempts = (), ends: str | None = None
    ) -> None:
        """A person asks for it, and again after a failure or out of impatience."""
        self.outside_window = outside_window
        for fault in faults or [None]:
            asked = {"actor": "kim", "reason": "needed", "outside_window": outside_window}
            ask = partial(refresh_now, self.settings, self.aws, **asked)
            self._operator("refresh", ask, fault)
        self._its_run_ends(ends)

    def _operator(self, verb: str, ask: Callable[[], Any], fault: Any) -> None:
        """Do what an operator asks; a refusal changes nothing, and an answer names its run."""
        before = self.aws.values()
        result = self._attempt(verb, ask, fault)
        if isinstance(self.error, Refused | BusyError) and not fault:
            assert self.aws.values() == before, f"{verb} was refused, and wrote: {self.error}"
        if self.error is None:
            # The same request twice is answered with the run that the first one started.
            answer = result if isinstance(result, dict) else result.to_json()
            said = answer.get("execution_id")
            assert self.started <= {said}, f"{verb} says {said}"
        elif not isinstance(self.error, Killed):
            assert not self.started or not getattr(self.error, "answered", True), "an unsaid run"
        self.time_passes(2)  # whoever acts within the difference of two clocks may be misjudged

    @rule(index=INDEX, which=WHICH, inherits=st.booleans())
    def somebody_puts_by_hand(self, index: int, which: int, inherits: bool) -> None:
        """Parameter Store keeps the Description of the version before if none is given."""
        database = self._database(index)
        suited = [each.arn for each in self.aws.snapshots.all if each.cluster == database.name]
        name = database.current_parameter
        if suited:
            value, parameters = suited[which % len(suited)], self.aws.parameters
            put = (name, parameters.put_by_hand(name, value, inherits=inherits))
            self.by_hand.add(put)
            # A Description that was written for this very value cannot be distinguished from our own.
            earlier = self.model.ledger(database)[:-1]
            if inherits and any(each.value == value and each.note for each in earlier):
                self.aws.like_ours.add(put)

    def _intrude(self, who: str, which: int) -> None:
        """Somebody acts between two calls of another's invocation."""
        has_copies = any(each.copy_policy for each in self.settings.databases)
        is_person = who in PEOPLE and not (has_copies and self.who == "poll")
        if not is_person and who not in BESIDE.get(self.who, ()):
            return
        runs, sent = self.aws.pipelines.started, len(self.aws.notifier.sent)
        with suppress(RefreshError):
            self._act(who, which)
        self.earlier_runs |= self.aws.pipelines.started - runs
        del self.aws.notifier.sent[sent:]

    def _act(self, who: str, which: int) -> None:
        match who:
            case "hand" | "inheriting hand":
                self.somebody_puts_by_hand(which, which, who != "hand")
            case "pin" | "pin and deploy" if self.aws.snapshots.all:
                self._pin(which, "bea", deploy=who != "pin")
            case "push":
                self.aws.begin()
            case "go on":
                for each in self.aws.live:
                    self.aws.go_on(each)
            case "poll":
                raised(poll(self.settings, self.aws))
            case "update":
                update(self.settings, self.aws, self.aws.time)
            case "copies end":
                self.aws.snapshots.settle()

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
        attempts=ATTEMPTS | st.none(),
    )
    def the_pipeline_goes_on(
        self,
        which: int = 0,
        fate: str = "ok",
        moment: str = "nothing",
        minutes: int = 0,
        attempts: Attempts | None = None,
    ) -> None:
        """Without attempts the event of its end is lost."""
        process = self.aws.live[which % len(self.aws.live)]
        if fate == "fail":
            self.aws.time += timedelta(minutes=1)  # clocks differ by less than a run takes
        self.who, self.aws.moment = "a run", lambda: self._intrude(moment, which)
        self.aws.go_on(process, fate)
        self.aws.moment = lambda: None
        self._audit()
        self.time_passes(minutes)
        if isinstance(process, Execution) and not process.is_live and attempts is not None:
            self.time_passes(2)  # by then the run is listed as ended
            self.an_event_of_the_pipeline_arrives(attempts)

    @precondition(lambda self: any(not each.is_live for each in self.aws.executions))
    @rule(attempts=ATTEMPTS)
    def an_event_of_the_pipeline_arrives(self, attempts: Attempts) -> None:
        """Late, twice, out of order: an event of the past may arrive at any time."""
        self._invoke("follow", partial(reconcile, self.settings, self.aws, PIPELINE), attempts)

    @precondition(lambda self: self.aws.executions)
    @rule(
        which=st.integers(0, 9),
        how=st.sampled_from(["retry", "retry", "roll back", "stop", "abandon"]),
    )
    def somebody_acts_on_a_run(self, which: int, how: str) -> None:
        live = [each for each in self.aws.executions if each.is_live]
        failed = [each for each in self.aws.executions if self.aws.may_retry(each)]
        if how == "retry" and failed:
            self.aws.retry(failed[which % len(failed)])
        elif how == "roll back" and self.aws.may_roll_back():
            self.aws.begin("ManualRollback", rolls_back=True)
        elif how in ("stop", "abandon") and live:
            # Without a stack to look at, nobody sees what an abandoned action goes on to do.
            abandons = how == "abandon" and self.settings.databases[0].stack is not None
            self.aws.stop(live[which % len(live)], abandons=abandons)
        self.time_passes(2)

    @rule(what=st.sampled_from(["Approval", "Deploy", "Test", "roll-back", "hold", "machine"]))
    def somebody_changes_the_account(self, what: str) -> None:
        """Disable or enable a transition, or the state machine; repair a roll-back, break the hold."""
        if what == "roll-back":
            self.aws.continue_rollback()
        elif what == "hold":
            self.aws.parameters.put_by_hand(HOLD, "until thursday")
        elif what == "machine":
            self.aws.state_machines.missing ^= {MACHINE}
            self.recovered["not-prepared"] += 1
        else:
            self.aws.disabled ^= {what}

    @precondition(lambda self: self.settings.databases[0].stack)
    @rule(index=INDEX)
    def somebody_deploys_by_hand(self, index: int) -> None:
        """While a run waits for an approval, for example."""
        self.time_passes(2)  # clocks differ by less
        stacks = [*self.aws.stacks.deploys]
        self.aws.deploy_by_hand(stacks[index % len(stacks)])
        self.recovered.update(["not-prepared", "failed-after-restore"])  # of another cluster
        self._audit()
        self.time_passes(2)

    @precondition(lambda self: self.aws.state_machines.statuses)
    @rule(which=WHICH, status=st.sampled_from(["SUCCEEDED", "FAILED", "TIMED_OUT", "RUNNING"]))
    def the_preparation_goes_on(self, which: int, status: str) -> None:
        """It ends, or somebody redrives one that has failed, which continues the same execution."""
        statuses = self.aws.state_machines.statuses
        name = [*statuses][-1 - which % len(statuses)]
        if statuses[name] != "SUCCEEDED":
            statuses[name] = status
            self.recovered["not-prepared"] += status == "RUNNING"

    def _its_run_ends(self, ends: str | None) -> None:
        """The newest run goes on to its end, or to an approval that nobody gives."""
        if ends is None or not self.aws.executions:
            return
        run = self.aws.executions[-1]
        end, fate = ("Deploy", "skip") if ends == "skip" else (ends, "fail")
        for _ in range(24):
            is_asked = run.is_inside and run.stage == "Approval"
            if not run.is_live or (ends == "wait" and is_asked):
                break
            process = next((each for each in self.aws.updates if each.is_live), run)
            place = run.stage if process is run else "Update"
            step, which = fate if place == end else "ok", self.aws.live.index(process)
            self.the_pipeline_goes_on(which, step, minutes=5, attempts=())

    # --- copies ---

    @of_copies(key=st.sampled_from([*KEYS, *KEYS, None]))
    def the_stage_is_deployed_with(self, key: str | None) -> None:
        """Another key; or none, and shares are promoted again."""
        self.settings = StageSettings.from_environment(variables(**self.stage, key=key))
        self.model = Model(self.settings, self.aws)

    @of_copies(which=WHICH, end=st.sampled_from(["available", "available", "failed"]))
    def a_copy_ends(self, which: int, end: str) -> None:
        found = [each.arn for each in self.aws.snapshots.all if each.status == "copying"]
        if found:
            self.aws.snapshots.change(found[which % len(found)], end)

    @of_copies(index=INDEX, status=st.sampled_from(["available", "available", "failed", "copying"]))
    def somebody_forges_a_copy(self, index: int, status: str) -> None:
        """Take a snapshot with the tags of a copy of the newest share, but with another name."""
        database = self._database(index)
        share, policy = next(iter(self.model.shares(database)), None), database.copy_policy
        if share and policy:
            own = arn("before-the-migration", ACCEPTANCE)
            self.aws.snapshots.change(own, "deleted")
            offer(self.aws, database, "before-the-migration", self.aws.time, ACCEPTANCE, status)
            self.aws.snapshots.tags[own] = policy.tags(share)

    # --- the schedules ---

    @rule(
        late=st.sampled_from([0, 0, 2, 178, 179, 400]),
        attempts=ATTEMPTS,
        meanwhile=st.none() | st.sampled_from([*MEANWHILE]),
        ends=ENDS,
    )
    def a_night_passes(
        self,
        late: int = 0,
        attempts: Attempts = (),
        meanwhile: str | None = None,
        ends: str | None = "succeed",
    ) -> None:
        """The whole of it: shares, an update, a promotion, its run, and the event of its end."""
        self.an_evening_comes()
        if meanwhile:
            MEANWHILE[meanwhile](self)
        self.a_schedule_fires("promote", late, attempts, jumps=False)
        # One of the three attempts is undisturbed and inside the window, which ends at minute 180.
        succeeds = None in (*attempts, None)[:3] and late + 2 * len(attempts) <= 178
        if succeeds and is_alone(attempts) and not meanwhile:
            assert self.runs_of[self.fired["promote"]], f"not promoted: {self.error}"
        self._its_run_ends(ends)

    @rule(ends=st.sampled_from(["succeed", "Test", "Update", "skip", "Build"]))
    def a_quiet_night_passes(self, ends: str) -> None:
        """Rules are drawn equally often: this one lets histories come to pins, failures and copies."""
        self.a_night_passes(ends=ends)

    @of_copies()
    def an_evening_comes(self) -> None:
        """Before an on-week's promotion: the pipeline idle, no hold, new data, and recorded."""
        self.all_settles()
        self._to_an_on_week()
        for index in (0, 1, 1):  # the last two are of the same minute
            self.production_shares(index)
        self.operator_holds(-1)
        self.a_schedule_fires("update")
        self.aws.snapshots.settle()
        self.a_poll_comes()
        for database in self.settings.databases:
            latest, (newest, *_) = self.model.latest(database), self.model.shares(database)
            assert self.model.source(latest).created >= newest.created, f"{latest} is recorded"

    def _to_an_on_week(self) -> None:
        if not self.settings.cadence.is_on_week(self._next_sunday(2).date()):
            self._pass_until(self._next_sunday(2) + timedelta(days=1))

    @rule(
        function=st.sampled_from(["update", "promote", "promote"]),
        late=st.sampled_from([0, 0, 0, 2, 90, 400]),
        attempts=ATTEMPTS,
        jumps=st.booleans(),
    )
    def a_schedule_fires(
        self, function: str, late: int = 0, attempts: Attempts = (), *, jumps: bool = True
    ) -> None:
        """The next Sunday comes, or that of an on-week, and an event: on time, or hours late."""
        if jumps:
            self._to_an_on_week()
        sunday = self._next_sunday(2 if function == "update" else 4)
        self._pass_until(sunday + timedelta(minutes=late))
        self.fired[function] = sunday
        self._deliver(function, attempts)

    def _next_sunday(self, hour: int) -> datetime:
        day = self.aws.time + timedelta(days=(6 - self.aws.time.weekday()) % 7)
        sunday = day.replace(hour=hour, minute=0, second=0, microsecond=0)
        return sunday if sunday >= self.aws.time else sunday + timedelta(days=7)

    @precondition(lambda self: self.fired)
    @rule(which=INDEX, attempts=ATTEMPTS)
    def a_schedules_event_arrives_again(self, which: int = 0, attempts: Attempts = ()) -> None:
        """EventBridge tries to deliver an event for at most 24 hours."""
        function = [*self.fired][-1 - which % len(self.fired)]
        if self.aws.time - self.fired[function] < timedelta(hours=24):
            self.time_passes(1)  # by then a run that has just been started is listed
            self._deliver(function, attempts)

    def _deliver(self, function: str, attempts: Attempts) -> None:
        use_case = {"update": update, "promote": promote}[function]
        ask = partial(use_case, self.settings, self.aws, self.fired[function])
        result = self._invoke(function, ask, attempts)
        has_started = result and result.outcome == "started"
        if function == "promote" and is_alone(attempts) and has_started:
            for each, value in self.promotable.items():
                assert value in (self.model.current(each), self.model.truth(each)), (
                    "some databases were promoted, and not all"
                )

    # --- time and polls ---

    @rule(minutes=st.sampled_from([1, 5, 30, 240, 1440]))
    def time_passes(self, minutes: int) -> None:
        self._pass_until(self.aws.time + timedelta(minutes=minutes))

    def _pass_until(self, end: datetime) -> None:
        """Poll every quarter of an hour; of a long time the first and the last do."""
        for time in (self.next_poll, end):
            if self.next_poll <= end:
                self.aws.time = max(self.aws.time, time)
                self.a_poll_comes()
        self.aws.time = max(self.aws.time, end)

    @rule(attempts=ATTEMPTS)
    def a_poll_comes(self, attempts: Attempts = ()) -> None:
        self.next_poll = self.aws.time + POLL
        self._invoke("poll", partial(poll, self.settings, self.aws), attempts)

    @rule(repairs=st.booleans(), prepared=st.sampled_from(["SUCCEEDED", "FAILED"]))
    def all_settles(self, repairs: bool = True, prepared: str = "SUCCEEDED") -> None:
        """Every run comes to its end and the polls are done: nothing is left to do or to report."""
        if repairs:
            self.aws.continue_rollback()
        self.model.settle(self.a_poll_comes, prepared)
        if not self.model.check_quiet():
            self.model.check_ends()
        self.model.check_copies()
        kept, sent = self.aws.parameters.kept, self.aws.notifier.sent
        before = deepcopy((kept, sent))
        raised(poll(self.settings, self.aws))
        assert (kept, sent) == before, "a poll with nothing to do wrote or notified something"

    # --- Lambda ---

    def _invoke(self, who: str, ask: Callable[[], Result], attempts: Attempts) -> Result | None:
        """Make up to three attempts, a minute and two apart; return the result of the last."""
        for delay, fault in zip((0, 1, 2), [*attempts, None, None, None], strict=False):
            self.aws.time += timedelta(minutes=delay)
            result = self._attempt(who, ask, fault)
            if self.error is None:
                break
        return result

    def _attempt(self, who: str, ask: Callable[[], Any], fault: Any) -> Any:
        """Return the result, unless there is an `error`; judge what was written, started and sent."""
        self.who, self.error, result = who, None, None
        self.promotable = {each: self.model.promotable(each) for each in self.settings.databases}
        sent, copies = len(self.aws.notifier.sent), set(self.aws.snapshots.copies)
        self.earlier_runs = self.aws.pipelines.started
        busy = [each for each in self.aws.pipelines.listed(PIPELINE) if each.in_progress]
        if fault:
            (way, when), operation, nth = fault
            meanwhile(self.aws, when, operation, partial(self._strike, way, operation), nth)
        try:
            result = ask()
        except (Killed, RefreshError) as error:
            self.error = error
        self.aws.interrupt = lambda when, operation: None
        self.started = self.aws.pipelines.started - self.earlier_runs
        assert not (self.started and busy), f"{who} started a run beside {busy}"
        assert not self.started or who in MOVERS, f"{who} started a run"
        for each in self.started:
            self.model.check_ordered(each)
        if who == "promote":
            self.runs_of.setdefault(self.fired[who], set()).update(self.started)
        self._hear(self.aws.notifier.sent[sent:], fault)
        self._audit()
        if not fault:
            self._check_made(self.aws.snapshots.copies.keys() - copies)
        return result

    def _strike(self, way: str, operation: str) -> None:
        if way == "kill":
            raise Killed
        if way in ("refuse", "lose"):
            raise AwsError(operation, "it", "Fault", "", answered=way != "lose")
        self._intrude(way, len(self.aws.calls))

    # --- what must hold ---

    def _hear(self, sent: Sequence[Any], fault: Any) -> None:
        """Nobody is notified of a person's request, and of the same end only once."""
        if self.who not in ("follow", "poll"):
            assert len(sent) <= (self.who in ("update", "promote")), f"{self.who} notified {sent}"
            return
        versions = [len(self.model.ledger(each)) for each in self.settings.databases]
        for each in sent:
            # The same person may refresh with the same words twice: the thread distinguishes them.
            reason = each.attributes.get("reason", "")
            end = (each.subject, each.body, each.thread, self.recovered[reason])
            if reason == "deployed-unknown":
                about = each.attributes["databases"].split(",")
                end += (*versions, *(self.recovered[name] for name in about))
            if each.thread and not fault:
                assert end not in self.notified, f"notified again: {end}"
                self.notified.add(end)
        self.recovered.update(self.model.seen())

    def _audit(self) -> None:
        """Every version of `latest` and `current` that was just written may have been."""
        for database in self.settings.databases:
            for version in self._unaudited(database.latest_parameter):
                assert version.value in self.model.candidates(database), f"latest: {version}"
            for version in self._unaudited(database.current_parameter):
                if (database.current_parameter, version.number) not in self.by_hand:
                    self._audit_current(database, version)
        self.audited = self._versions()

    def _unaudited(self, name: str) -> list[Version]:
        kept, audited = self.aws.parameters.kept.get(name, []), self.audited.get(name, 0)
        return [version for version in kept if version.number > audited]

    def _audit_current(self, database: Database, version: Version) -> None:
        earlier = [each for each in self.model.ledger(database) if each.number < version.number]
        name = f"version {version.number} of {database.name} ({version.action} by {self.who})"
        if any((each.value, each.note) == (version.value, version.note) for each in earlier):
            return  # what somebody else had set was put back
        if version.action in CORRECTIONS:
            assert any(each.value == version.value for each in earlier), f"{name} is invented"
            self._may_correct(database, version, earlier[-1], name)
            return
        restorable = [each.arn for each in self.aws.snapshots.all if each.available]
        assert version.value in restorable, f"{name} cannot be restored"
        if version.action in ("pin", "rollback"):
            return
        assert version.action in ("promote", "refresh"), name
        assert version.value == self.promotable[database], f"{name} is not promotable"
        window = self.settings.window
        if version.action == "promote":
            day = window.date_of(self.fired["promote"])
            assert self.settings.cadence.is_on_week(day), f"{name}: off-week"
        ignores = version.action == "refresh" and self.outside_window
        assert ignores or window.contains(self.aws.time), f"{name}: outside the window"
        assert not self.model.hold(), f"{name}: on hold"

    def _may_correct(self, database: Database, version: Version, old: Version, name: str) -> None:
        """Nobody's own is corrected, nor what its own run may still restore, unless it is put back."""
        overruled = (old.value, old.note)
        later = [each for each in self.model.ledger(database) if each.number > version.number]
        if any((each.value, each.note) == overruled for each in later):
            return
        key = (database.current_parameter, old.number)
        assert key not in self.by_hand - self.aws.like_ours, f"{name} takes back a person's"
        run = self.aws.own_run(old.token)
        assert not (run and run.is_live), f"{name} takes back what {run} may still restore"

    def _check_made(self, made: Collection[str]) -> None:
        """Only the newest share is copied, and only if its copy can be promoted."""
        for copy in made:
            source = self.model.source(copy)
            (database,) = (each for each in self.settings.databases if each.name == source.cluster)
            assert source == self.model.shares(database)[0], f"{source.arn} was copied"
            newest = self.model.usable(database, "available", "copying")[0].arn
            assert newest == copy, f"{copy} can never be promoted"

    def _may_be_deleted(self, deleted: str) -> None:
        made, found = self.aws.snapshots.copies.get(deleted), self.aws.snapshots.get(deleted)
        assert made, f"{deleted} is not ours, and is deleted"
        (database,) = (each for each in self.settings.databases if each.name == made.source.cluster)
        assert found.available or found.failed, f"{deleted} is in progress, and is deleted"
        if found.available:
            assert deleted not in self.model.leading(database), f"{deleted} is needed"
            young = self.model.copies(database, "available")[: database.copy_policy.keep]
            assert found not in young, f"{deleted} is young, and is deleted"

    @invariant()
    def the_guarantees_hold(self) -> None:
        copies = [(each.recency, each.key) for each in self.aws.snapshots.copies.values()]
        assert len(copies) == len(set(copies)), "a share was copied twice"
        self.model.check_status()
        self.judged = self.model.check_replacements(self.judged)
        self.model.check_good()
        for scheduled, started in self.runs_of.items():
            assert len(started) <= 1, f"{scheduled} started {started}"

    def _versions(self) -> dict[str, int]:
        return {name: kept[-1].number for name, kept in self.aws.parameters.kept.items()}
