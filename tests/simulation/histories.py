"""Random histories of a stage, and what must hold after every step of them.

The use cases are the real ones, on the AWS in memory. Lambda and EventBridge are played as AWS
documents them: events come late, twice and not at all, an invocation that raises or is killed runs
twice more, and people act between any two calls of an invocation. One stage in two promotes copies:
RDS finishes, fails and loses them, shares and keys change, and strangers take snapshots like them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, BusyError, RefreshError, Refused
from chalicelib.domain.ledger import Version
from chalicelib.domain.results import Result
from chalicelib.domain.schedule import scheduled_minute
from chalicelib.domain.snapshots import pin_rejection
from chalicelib.usecases import hold as holding
from chalicelib.usecases.pin import PinRequest, pin, rollback
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from chalicelib.usecases.reconcile import follow
from chalicelib.usecases.update_latest import update
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, arn
from tests.interruptions import Killed, meanwhile
from tests.simulation.account import Behaviour, Execution, SimulatedAws, Update
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
WAYS = [("kill", "before"), ("kill", "after"), ("lose", "before"), ("lose", "after")]
WAYS += [("refuse", "before")]
PEOPLE = ["hand", "inheriting hand", "pin", "pin and deploy", "push", "go on"]
# Where it hurts most comes first: between putting `current`, starting the run and looking again.
CALLS = st.sampled_from(["put", "start", "put", "start", "label", "_publish", "history", "runs"])
CALLS |= st.sampled_from(["get", "find", "actions", "deployed", "shared", "positions", "execution"])
COPY_CALLS = st.sampled_from(["copy", "put", "copy", "put", "own", "delete", "history", "_publish"])
# Which other function may run during one. A person may pin an old copy just as a poll deletes it,
# which is beyond what is promised.
BESIDE = {
    "update": ("update", "poll", "copies end"),
    "poll": ("update", "poll", "copies end"),
    "promote": ("poll",),
    "pin latest": ("poll",),
    "a run": ("poll",),
}
NTH = st.sampled_from([1, 1, 2, 3])


def faults(others: Sequence[str], calls: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return (what happens, `before` or `after` a call, the call's name, its number)."""
    ways = st.sampled_from(WAYS) | st.sampled_from([(who, "before") for who in others])
    return st.tuples(ways, calls, NTH).map(lambda fault: (*fault[0], *fault[1:]))


def attempts(fault: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | fault, max_size=3) | fault.map(lambda each: [each] * 3)


def is_alone(attempts: Attempts) -> bool:
    """Return whether nobody acts between the calls of these attempts."""
    return all(fault is None or fault[0] in ("kill", "lose", "refuse") for fault in attempts)


FAULTS = faults(PEOPLE, CALLS)
ONE_ATTEMPT, ATTEMPTS = st.none() | FAULTS, attempts(FAULTS)
COPY_ATTEMPTS = attempts(faults(["update", "poll", "copies end", "pin"], COPY_CALLS))
# The stage in which a run fails, `skip` for its deploy stage, `wait` for an approval that nobody
# gives, `beside` for a push that fails while it waits for one.
ENDS = st.sampled_from(
    [None, "succeed", "succeed", "beside", "Build", "Approval", "Deploy", "Test"]
)
ENDS |= st.sampled_from(["skip", "wait"])
FATES = st.sampled_from(["ok"] * 7 + ["fail", "skip"])
MOMENTS = st.sampled_from(["nothing"] * 5 + ["hand", "inheriting hand", "pin", "poll"])
COPY_ENDS = st.sampled_from(["available", "available", "available", "failed", "copying", "deleted"])
FLAWS = st.sampled_from(
    [{}] * 9
    + [{"status": "creating"}, {"created": None}, {"account": "9" * 12}, {"engine_version": "99.1"}]
)
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
        self.wished = {each.arn for each in self.aws.snapshots.all}
        self.fired: list[tuple[str, datetime]] = []
        self.runs_of: dict[datetime, set[str]] = {}
        self.audited = self._versions()
        self.by_others: set[tuple[str, int]] = set()  # versions and runs of people in between
        self.by_hand: set[tuple[str, int]] = set()
        self.their_runs: set[str] = set()
        self.notified: set[Any] = set()
        self.next_poll = START
        self.error: RefreshError | None = None
        self.outside_window = self.is_forged = False

    def _database(self, index: int) -> Database:
        return self.settings.databases[index % len(self.settings.databases)]

    # --- production ---

    @rule(index=INDEX, hours=st.integers(0, 20 * 24), flaw=FLAWS, again=st.booleans())
    def production_shares(
        self, index: int = 0, hours: int = 0, flaw: Mapping[str, Any] = {}, again: bool = False
    ) -> None:
        """Share a snapshot; where it is copied perhaps `again`, under the name of an earlier one."""
        self.shares += 1
        database, name = self._database(index), f"s{self.shares:04}"
        shares = self.model.shares(database)
        if again and shares and database.copy_policy:
            name = shares[0].arn.rpartition(":")[2]
            self.aws.snapshots.change(shares[0].arn, "deleted")
        facts = {"created": self.aws.time - timedelta(hours=hours), **flaw}
        offer(self.aws, database, name, facts.pop("created"), **facts)

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

    @rule(text=st.sampled_from(["till thursday", "[]", '{"until": "soon"}']))
    def a_hold_cannot_be_read(self, text: str) -> None:
        self.aws.parameters.put_by_hand(HOLD, text)

    @precondition(lambda self: self.aws.snapshots.all)
    @rule(which=WHICH, deploy=st.booleans(), fault=ONE_ATTEMPT)
    def operator_pins(self, which: int, deploy: bool = False, fault: Any = None) -> None:
        chosen, database = self._chosen(which)
        self._operator("pin", partial(self._pin, database, chosen, deploy=deploy), fault)

    def _chosen(self, which: int) -> tuple[str, Database]:
        chosen = self.aws.snapshots.all[which % len(self.aws.snapshots.all)]
        return chosen.arn, self._database(1 if chosen.cluster == "docs" else 0)

    @rule(index=INDEX, deploy=st.booleans(), fault=ONE_ATTEMPT, ends=ENDS)
    def operator_rolls_back(
        self, index: int, deploy: bool, fault: Any = None, ends: str | None = "succeed"
    ) -> None:
        database = self._database(index)
        ask = partial(rollback, self.settings, self.aws, database, "lee", "back", deploy=deploy)
        self._operator("rollback", ask, fault)
        self._its_run_ends(ends)

    @rule(
        outside_window=st.booleans(),
        faults=st.lists(ONE_ATTEMPT, min_size=1, max_size=2),
        ends=ENDS,
    )
    def operator_refreshes(
        self, outside_window: bool = False, faults: Attempts = (None,), ends: str | None = None
    ) -> None:
        """A person asks for it, and again after a failure or out of impatience."""
        for fault in faults:
            self.outside_window = outside_window
            before = self._versions()
            planned, _ = self._attempt("look", lambda: self._refresh(dry_run=True), None)
            assert self._versions() == before, "a dry run put something"
            result = self._operator("refresh", self._refresh, fault)
            if result and planned and not fault:
                assert (planned.outcome, planned.reason) == (result.outcome, result.reason)
        self._its_run_ends(ends)

    def _refresh(self, *, dry_run: bool = False) -> Result:
        request = RefreshRequest.by_person("kim", "needed", outside_window=self.outside_window)
        return refresh_now(self.settings, self.aws, request, dry_run=dry_run)

    def _pin(
        self, database: Database, value: str, actor: str = "ann", *, deploy: bool = False
    ) -> Any:
        self.wished.add(value)
        return pin(self.settings, self.aws, database, PinRequest(value, actor, "try", deploy))

    def _operator(self, verb: str, ask: Callable[[], Any], fault: Any) -> Any:
        """Do what an operator asks; a refusal changes nothing, and an answer names its run."""
        before = self.aws.values()
        result, ending = self._attempt(verb, ask, fault)
        if isinstance(self.error, Refused | BusyError) and not fault:
            assert self.aws.values() == before, f"{verb} was refused, and wrote: {self.error}"
        if ending == "answered":
            # The same request twice is answered with the run that the first one started.
            assert self.started <= {result.execution_id}, f"{verb} says {result.execution_id}"
        elif ending == "raised":
            assert not self.started or not getattr(self.error, "answered", True), "an unsaid run"
        self.time_passes(2)  # whoever acts within the difference of two clocks may be misjudged
        return result

    @rule(index=INDEX, which=WHICH, inherits=st.booleans())
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
            # A Description that was written for this very value cannot be distinguished from our own.
            is_like_ours = inherits and any(
                each.value == put.value and each.note for each in earlier
            )
            (self.aws.like_ours if is_like_ours else self.by_hand).add((name, number))

    def _intrude(self, who: str, which: int) -> None:
        """Somebody acts between two calls of another's invocation."""
        is_person = who in PEOPLE and not (self.settings.has_copies and self.who == "poll")
        if not is_person and who not in BESIDE.get(self.who, ()):
            return
        before, runs, sent = self._versions(), self._ours(), len(self.aws.notifier.sent)
        with suppress(RefreshError):
            self._act(who, which)
        self.by_others |= self._versions().items() - before.items()
        self.their_runs |= self._ours() - runs
        del self.aws.notifier.sent[sent:]

    def _act(self, who: str, which: int) -> None:
        match who:
            case "hand" | "inheriting hand":
                self.somebody_puts_by_hand(which, which, who != "hand")
            case "pin" | "pin and deploy" if self.aws.snapshots.all:
                chosen, database = self._chosen(which)
                self._pin(database, chosen, "bea", deploy=who != "pin")
            case "push":
                self.aws.begin()
            case "go on":
                for each in self.aws.live:
                    self.aws.go_on(each)
            case "poll":
                poll(self.settings, self.aws)
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
        event=st.sampled_from(["heard", "heard", "lost"]),
        attempts=ATTEMPTS,
    )
    def the_pipeline_goes_on(
        self,
        which: int = 0,
        fate: str = "ok",
        moment: str = "nothing",
        minutes: int = 0,
        event: str = "lost",
        attempts: Attempts = (),
    ) -> None:
        process = self.aws.live[which % len(self.aws.live)]
        self.who, self.aws.moment = "a run", lambda: self._intrude(moment, which)
        self.aws.go_on(process, fate)
        self.aws.moment = lambda: None
        self._audit(None)
        self.time_passes(minutes)
        if isinstance(process, Execution) and not process.is_live and event == "heard":
            self.time_passes(2)  # by then the run is listed as ended
            self.an_event_of_the_pipeline_arrives(attempts)

    @precondition(lambda self: any(not each.is_live for each in self.aws.executions))
    @rule(attempts=ATTEMPTS)
    def an_event_of_the_pipeline_arrives(self, attempts: Attempts) -> None:
        """Late, twice, out of order: an event of the past may arrive at any time."""
        self._invoke("follow", partial(follow, self.settings, self.aws, PIPELINE), attempts)

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
        self.time_passes(2)

    @rule(what=st.sampled_from(["Approval", "Deploy", "Test", "roll-back", "state machine"]))
    def somebody_changes_the_account(self, what: str) -> None:
        """Disable or enable a transition, continue a failed roll-back, or hide the state machine."""
        if what == "roll-back":
            self.aws.continue_rollback()
        elif what == "state machine":
            self.aws.state_machines.missing ^= {MACHINE}
        else:
            self.aws.disabled ^= {what}

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

    def _its_run_ends(self, ends: str | None) -> None:
        """The newest run goes on to its end, or to an approval that nobody gives."""
        if ends is None or not self.aws.executions:
            return

        def goes_on(process: Execution | Update, fate: str) -> None:
            which = self.aws.live.index(process)
            self.the_pipeline_goes_on(which, fate, minutes=5, event="heard")

        run = self.aws.executions[-1]
        for _ in range(24):
            process = next((each for each in self.aws.updates if each.is_live), run)
            inside = isinstance(process, Update) or process.is_inside
            stage = "Deploy" if isinstance(process, Update) else process.stage
            if not run.is_live or (ends == "wait" and inside and stage == "Approval"):
                break
            if ends == "beside" and inside and stage == "Approval":
                goes_on(self.aws.begin(), "fail")
                ends = "succeed"
            fails = inside and stage == ends and (stage != "Deploy" or process is not run)
            fate = "skip" if ends == "skip" and stage == "Deploy" else "fail" if fails else "ok"
            goes_on(process, fate)

    # --- copies ---

    @of_copies(key=st.sampled_from([*KEYS, *KEYS, None]))
    def the_stage_is_deployed_with(self, key: str | None) -> None:
        """Another key; or none, and shares are promoted again."""
        self.settings = StageSettings.from_environment(variables(**self.stage, key=key))
        self.model = Model(self.settings, self.aws)

    @of_copies(index=INDEX)
    def only_older_shares_are_left(self, index: int) -> None:
        """A copy of one of them could never be `latest`."""
        for made in list(self.aws.snapshots.copies.values()):
            self.aws.snapshots.change(made.source.arn, "deleted")
        self.production_shares(index, 100)

    @of_copies(which=st.none() | WHICH, end=COPY_ENDS)
    def copies_end(self, which: int | None = None, end: str = "available") -> None:
        """All of them, or one."""
        found = [each.arn for each in self.aws.snapshots.all if each.status == "copying"]
        for each in found if which is None or not found else [found[which % len(found)]]:
            self.aws.snapshots.change(each, end)

    @of_copies(
        index=INDEX,
        differs=st.sampled_from(["name", "tags"]),
        status=st.sampled_from(["available", "available", "failed", "copying"]),
    )
    def somebody_forges_a_copy(self, index: int, differs: str, status: str) -> None:
        """Take a snapshot like a copy of the newest share, but with another name or without tags."""
        database = self._database(index)
        share, policy = next(iter(self.model.shares(database)), None), database.copy_policy
        if share and policy:
            name = "before-the-migration" if differs == "name" else policy.name_for(share)
            self.is_forged = True
            own = self._take(name, database, status)
            self.aws.snapshots.tags[own] = {} if differs == "tags" else policy.tags(share)

    @of_copies(index=INDEX)
    def others_copy_as_many_as_rds_allows(self, index: int) -> None:
        for number in range(COPIES_UNDER_WAY):
            self._take(f"theirs-{number}", self._database(index), "copying")

    def _take(self, name: str, database: Database, status: str) -> str:
        """Take a snapshot of this account, in the place of one of that name."""
        own = arn(name, ACCEPTANCE)
        self.aws.snapshots.change(own, "deleted")
        offer(self.aws, database, name, self.aws.time, account=ACCEPTANCE, status=status)
        return own

    @of_copies(index=INDEX, call=st.sampled_from(["get", "put", "put"]))
    def operator_pins_latest(self, index: int, call: str) -> None:
        """The poll moves `latest` just as somebody pins what it names."""
        self.some_nights_pass_without_a_promotion(1)
        self.an_evening_comes(polls=False)
        database = self._database(index)
        self.wished |= {self.model.latest(database), *self.model.candidates(database)}
        ask = partial(self._pin, database, "latest")
        self._attempt("pin latest", ask, ("poll", "before", call, 1))

    @of_copies(nights=st.integers(1, 3))
    def some_nights_pass_without_a_promotion(self, nights: int) -> None:
        for _ in range(nights):
            self.an_evening_comes()

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
        late: int = 0,
        attempts: Attempts = (),
        meanwhile: str | None = None,
        ends: str | None = "succeed",
        again: bool = False,
    ) -> None:
        """The whole of it: shares, an update, a promotion, its run, and the event of its end."""
        self.an_evening_comes()
        if meanwhile == "broken":
            self.a_snapshot_breaks(-1, "failed")
        elif meanwhile == "busy":
            self.a_run_begins("Webhook")
        elif meanwhile in ("pin", "pin and deploy"):
            self.operator_pins(late, meanwhile != "pin")
        elif meanwhile == "rollback":
            self.operator_rolls_back(late, late % 2 == 0)
        elif meanwhile in ("refresh", "killed"):
            fault = ("kill", "after", "put", 1) if meanwhile == "killed" else None
            self.operator_refreshes(faults=[fault], ends="succeed" if late else None)
        elif meanwhile == "hold":
            self.operator_holds(1)
        result = self._fire("promote", late, attempts)
        # One of the three attempts is undisturbed and inside the window, which ends at minute 180.
        succeeds = None in (*attempts, None)[:3] and late + 2 * len(attempts) <= 178
        if succeeds and is_alone(attempts) and not meanwhile and not self.is_forged:
            assert self.runs_of[self.fired[-1][1]], f"not promoted: {result}"
        self._its_run_ends(ends)
        if again:
            self.time_passes(1)
            self._deliver("promote", self.fired[-1][1], ())

    @rule(fault=FAULTS, late=st.sampled_from([0, 179]), once=st.booleans(), ends=ENDS)
    def a_bad_night_passes(self, fault: Any, late: int, once: bool, ends: str | None) -> None:
        """The same goes wrong in every attempt, or in the first."""
        self.a_night_passes(late, [fault] if once else [fault] * 3, ends=ends)

    @rule(ends=st.sampled_from(["succeed", "Test", "Deploy", "skip", "Build"]))
    def a_quiet_night_passes(self, ends: str) -> None:
        """Rules are drawn equally often: this one lets histories come to pins, failures and copies."""
        self.a_night_passes(ends=ends)

    def an_evening_comes(self, *, polls: bool = True) -> None:
        """Before an on-week's promotion: the pipeline idle, no hold, new data, and recorded."""
        self.all_settles()
        self._to_an_on_week()
        for index in (0, 1, 1):  # the last two are of the same minute
            self.production_shares(index, 3)
        self.operator_holds(-1)
        self.a_schedule_fires("update")
        self.aws.snapshots.settle()
        if polls:
            self.a_poll_comes()
            for database in self.settings.databases:
                latest = self.model.latest(database)
                copy = self.aws.snapshots.copies.get(latest)
                source = copy.source if copy else self.aws.snapshots.get(latest)
                is_newest = source.created >= self.model.shares(database)[0].created
                assert is_newest or self.is_forged, f"{latest} is recorded"

    def _to_an_on_week(self) -> None:
        if not self.settings.cadence.is_on_week(self._next_sunday(2).date()):
            self._pass_until(self._next_sunday(2) + timedelta(days=1))

    @rule(
        function=st.sampled_from(["update", "promote", "promote"]),
        late=st.sampled_from([0, 0, 0, 2, 90, 400]),
        attempts=ATTEMPTS | COPY_ATTEMPTS,
        jump=st.booleans(),
    )
    def a_schedule_fires(
        self, function: str, late: int = 0, attempts: Attempts = (), jump: bool = True
    ) -> None:
        """The next Sunday comes, or that of an on-week, and an event: on time, or hours late."""
        if jump:
            self._to_an_on_week()
        self._fire(function, late, attempts)

    def _fire(self, function: str, late: int, attempts: Attempts) -> Result | None:
        sunday = self._next_sunday(2 if function == "update" else 4)
        self._pass_until(sunday + timedelta(minutes=late))
        self.fired.append((function, sunday))
        time = scheduled_minute((sunday + timedelta(seconds=late % 60)).isoformat())
        return self._deliver(function, time, attempts)

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
        self.time_passes(1)  # by then a run that has just been started is listed
        self._deliver(*events[-1 - which % len(events)], attempts)

    def _deliver(self, function: str, scheduled: datetime, attempts: Attempts) -> Result | None:
        use_case = {"update": update, "promote": promote}[function]
        ask = partial(use_case, self.settings, self.aws, scheduled)
        result = self._invoke(function, ask, attempts, scheduled)
        has_started = result and result.outcome == "started"
        if function == "promote" and is_alone(attempts) and has_started:
            for each, value in self.promotable.items():
                assert value in (self.model.current(each), self.model.truth(each)), (
                    "some databases were promoted, and not all"
                )
        return result

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

    @rule(attempts=ATTEMPTS | COPY_ATTEMPTS)
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
        written, sent = self.model.ledgers(), len(self.aws.notifier.sent)
        poll(self.settings, self.aws)
        assert (self.model.ledgers(), len(self.aws.notifier.sent)) == (written, sent), (
            "a poll with nothing to do wrote or notified something"
        )

    # --- Lambda ---

    def _invoke(
        self, who: str, ask: Callable[[], Result], attempts: Attempts, at: datetime | None = None
    ) -> Result | None:
        """Make up to three attempts, a minute and two apart; return the result of the last."""
        for delay, fault in zip((0, 1, 2), [*attempts, None, None, None], strict=False):
            self.aws.time += timedelta(minutes=delay)
            result, ending = self._attempt(who, ask, fault, at)
            if ending == "answered":
                break
        return result

    def _attempt(
        self, who: str, ask: Callable[[], Any], fault: Any, scheduled: datetime | None = None
    ) -> tuple[Any, str]:
        """Return the result and how it ended; judge what was written, started and sent."""
        self.who, self.is_struck, sent = who, False, len(self.aws.notifier.sent)
        self.promotable = {each: self.model.promotable(each) for each in self.settings.databases}
        runs, copies = self._ours(), set(self.aws.snapshots.copies)
        busy = [each for each in self.aws.pipelines.listed(PIPELINE) if each.in_progress]
        result, ending, self.error = None, "answered", None
        if fault:
            way, when, operation, nth = fault
            strike = partial(self._strike, way, operation)
            meanwhile(self.aws, when, operation, strike, nth)
        try:
            result = ask()
        except Killed:
            ending = "killed"
        except RefreshError as error:
            self.error, ending = error, "raised"
        finally:
            self.aws.interrupt = lambda when, operation: None
        self.started = self._ours() - runs - self.their_runs
        assert not (self.started and busy), f"{who} started a run beside {busy}"
        assert not self.started or who in MOVERS, f"{who} started a run"
        for each in self.started:
            self.model.check_ordered(each)
        if scheduled and who == "promote":
            minute = scheduled.replace(second=0)
            self.runs_of.setdefault(minute, set()).update(self.started)
        self._hear(self.aws.notifier.sent[sent:], fault)
        self._audit(scheduled)
        self._check_copies(self.aws.snapshots.copies.keys() - copies)
        return result, ending

    def _strike(self, way: str, operation: str) -> None:
        self.is_struck = True
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
            end = (each.subject, each.body, each.thread)
            if each.attributes.get("reason") == "deployed-unknown":
                end += (*versions,)  # which is reported of each version anew
            if each.thread and not fault:
                assert end not in self.notified, f"notified again: {end}"
                self.notified.add(end)

    def _audit(self, scheduled: datetime | None) -> None:
        """Every version of `latest` and `current` that was just written may have been."""
        for database in self.settings.databases:
            for version in self._unaudited(database.latest_parameter):
                assert version.value in self.model.candidates(database), f"latest: {version}"
            for version in self._unaudited(database.current_parameter):
                if (database.current_parameter, version.number) not in self.by_others:
                    self._audit_current(database, version, scheduled)
        self.audited = self._versions()

    def _unaudited(self, name: str) -> list[Version]:
        kept, audited = self.aws.parameters.kept.get(name, []), self.audited.get(name, 0)
        return [version for version in kept if version.number > audited]

    def _audit_current(
        self, database: Database, version: Version, scheduled: datetime | None
    ) -> None:
        earlier = [each for each in self.model.ledger(database) if each.number < version.number]
        name = f"version {version.number} of {database.name} ({version.action} by {self.who})"
        if any((each.value, each.note) == (version.value, version.note) for each in earlier):
            return  # what somebody else had set was put back
        if version.action in CORRECTIONS:
            assert any(each.value == version.value for each in earlier), f"{name} is invented"
            self._may_correct(database, version, earlier[-1], name)
            return
        share = self.aws.snapshots.get(version.value)
        assert share, f"{name} does not exist"
        if version.action in ("pin", "rollback"):
            assert pin_rejection(share, database.criteria) is None, f"{name} is not eligible"
            is_wished = version.value in self.wished or self.who == "rollback"
            assert is_wished, f"nobody asked for {name}"
            return
        assert version.action in ("promote", "refresh"), name
        assert version.value == self.promotable[database], f"{name} is not promotable"
        window = self.settings.window
        if version.action == "promote":
            day = window.date_of(scheduled)
            assert self.settings.cadence.is_on_week(day), f"{name}: off-week"
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

    def _check_copies(self, made: Collection[str]) -> None:
        """Each share is copied once, and only the newest one, if its copy can be promoted."""
        found = self.aws.snapshots.copies
        copies = [(each.recency, each.key) for each in found.values()]
        assert len(copies) == len(set(copies)), "a share was copied twice"
        for copy in made if not self.is_struck else ():
            source = found[copy].source
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
            assert self.model.has_newer(database, deleted), f"{deleted} is young, and is deleted"

    @invariant()
    def the_guarantees_hold(self) -> None:
        self.model.check_status()
        self.judged = self.model.check_replacements(self.judged)
        self.model.check_good()
        for scheduled, started in self.runs_of.items():
            assert len(started) <= 1, f"{scheduled} started {started}"

    def _ours(self) -> set[str]:
        """Return the runs that the application has started."""
        return self.aws.pipelines.started

    def _versions(self) -> dict[str, int]:
        return {name: kept[-1].number for name, kept in self.aws.parameters.kept.items()}
