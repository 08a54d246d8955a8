"""Random histories of stages that promote copies under their own key, and delete old ones.

The update, the poll, the promotion and the pins are the real ones, on the AWS in memory. RDS
finishes, fails and loses copies, keys and shares come and go, people and strangers act in between,
and a fault at any call ends an attempt.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from chalicelib.domain.copies import CopyPolicy
from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, RefreshError
from chalicelib.domain.ledger import Note
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import promote
from chalicelib.usecases.update_latest import update
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, InMemoryAws, arn, snapshot
from tests.interruptions import Killed
from tests.simulation.model import ENGINES, START, bootstrap, offer, variables
from tests.simulation.model_of_copies import ModelOfCopies, WatchedSnapshots
from tests.stage import PIPELINE

KEYS = ("alias/acceptance", "alias/another")
HOW = st.sampled_from(["available", "available", "available", "failed", "copying", "deleted"])
# At a call the process dies, AWS refuses, or no answer comes; or somebody else acts before it.
FAULTS = st.tuples(
    st.sampled_from(
        [("kill", "before"), ("kill", "after"), ("refuse", "before"), ("lose", "after")]
        + [(who, "before") for who in ("update", "poll", "rds", "pin")]
    ),
    st.sampled_from(["copy", "put", "copy", "put", "own", "delete", "history", "_publish"]),
    st.sampled_from([1, 1, 2]),
).map(lambda fault: (*fault[0], *fault[1:]))
ATTEMPTS = st.lists(st.none() | FAULTS, max_size=3) | FAULTS.map(lambda fault: [fault])
# Who may act during what. A person may still pin an old copy just as the poll deletes it.
BESIDE = {
    "update": ("update", "poll", "rds"),
    "poll": ("update", "poll", "rds"),
    "promote": ("poll", "pin"),
    "pin": ("poll",),
}
# The calls that concern one database.
OF_ONE = ("copy", "delete", "put", "history")
RUN_ENDS = st.sampled_from([None, "Succeeded", "Succeeded", "Failed"])
INDEX, WHICH = st.integers(0, 1), st.integers(0, 99)


class HistoriesOfCopies(RuleBasedStateMachine):
    """One account's history. Every rule is a step, and every invocation is judged."""

    @initialize(
        copied=st.sampled_from([["RDS", "DOCS"], ["RDS", "DOCS"], ["RDS"]]),
        keep=st.sampled_from(["1", "1", "2"]),
        placeholder=st.booleans(),
        dates=st.booleans(),
        at_once=st.sampled_from([False, False, False, True]),
    )
    def begin(
        self, copied: list[str], keep: str, placeholder: bool, dates: bool, at_once: bool
    ) -> None:
        """Two databases; one of them may go without copies."""
        self.copied = copied
        self.variables = variables(two=True, stacks="one") | {"REFRESH_EVERY_WEEKS": "1"}
        self.variables |= {f"{name}_COPIES_TO_KEEP": keep for name in self.copied}
        self.aws = InMemoryAws(START)
        self.aws.snapshots = self.snapshots = WatchedSnapshots(
            self.aws, self._may_be_deleted, keeps_date=dates, at_once=at_once
        )
        self.aws.pipelines.pipelines[PIPELINE] = []
        self._configure(KEYS[0])
        bootstrap(self.settings, self.aws, "one")
        for database in self.settings.databases:
            if placeholder:
                name = database.latest_parameter
                self.aws.parameters.put(name, "dummyvalue", Note("bootstrap", "setup", ""))
        self.shares = self.others = 0
        self.audited = self._versions()
        self.is_silent = False

    def _configure(self, key: str | None) -> None:
        self.key = key
        keys = {f"{name}_COPY_KMS_KEY_ID": key for name in self.copied if key}
        self.settings = Settings.from_environment(self.variables | keys)
        self.model = ModelOfCopies(self.settings, self.aws, self.snapshots)

    @property
    def with_copies(self) -> list[Database]:
        return [database for database in self.settings.databases if database.copy_policy]

    def _database(self, index: int) -> Database:
        return self.settings.databases[index]

    # --- the stage, production, RDS and its keys ---

    @rule(key=st.sampled_from([*KEYS, *KEYS, None]), nights=st.integers(0, 2), back=st.booleans())
    def the_stage_is_deployed_with(self, key: str | None, nights: int, back: bool) -> None:
        """Another key, perhaps for some nights only; or none: shares are promoted again."""
        before = self.key
        self._configure(key)
        self.quiet_nights_pass(nights, None)
        if back:
            self._configure(before)
            self._deliver("poll", [])

    @rule(
        index=INDEX,
        hours=st.integers(0, 20 * 24),
        flaw=st.sampled_from([{}] * 6 + [{"status": "creating"}, {"created": None}])
        | st.sampled_from([{"account": "999999999999"}, {"engine_version": "99.1"}]),
        unencrypted=st.sampled_from([False] * 5 + [True]),
    )
    def production_shares(
        self, index: int, hours: int, flaw: dict[str, Any], unencrypted: bool
    ) -> None:
        """Names come again: production deletes a snapshot, and takes another one of that name."""
        self.shares += 1
        database, name = self._database(index), f"s{self.shares % 12:02}-{index}"
        facts = {"created": self.aws.time - timedelta(hours=hours), **flaw}
        self.snapshots.lose(arn(name))
        self.snapshots.unencrypted.discard(arn(name))
        share = offer(self.aws, database, name, facts.pop("created"), **facts)
        if unencrypted:
            self.snapshots.unencrypted.add(share.arn)

    @rule(which=WHICH, own=st.booleans())
    def somebody_deletes(self, which: int, own: bool) -> None:
        """Production a share, or an operator a copy."""
        chosen = [each.arn for each in self.snapshots.all if each.own == own]
        if chosen:
            self.snapshots.lose(chosen[which % len(chosen)])

    @rule()
    def only_older_shares_are_left(self) -> None:
        """A copy of one of them could never be `latest`."""
        for made in self.snapshots.made.values():
            self.snapshots.lose(made.source.arn)
        for index, _ in enumerate(self.settings.databases):
            self.production_shares(index, 100, {}, unencrypted=False)

    @rule(which=st.none() | WHICH, how=HOW)
    def copies_end(self, which: int | None, how: str) -> None:
        """All of them, or one."""
        found = [each.arn for each in self.snapshots.all if each.status == "copying"]
        for each in found if which is None or not found else [found[which % len(found)]]:
            if how == "deleted":
                self.snapshots.lose(each)
            else:
                self.snapshots.change(each, status=how)

    @rule(key=st.sampled_from(KEYS), denied=st.booleans())
    def a_key_is_denied_or_allowed(self, key: str, denied: bool) -> None:
        if denied:
            self.snapshots.denied.add(key)
            self.snapshots.fail(lambda made: made.key == key)
        else:
            self.snapshots.denied.discard(key)

    # --- strangers and operators ---

    @rule(
        index=INDEX,
        kind=st.sampled_from(["our prefix", "the very name", "our tags", "another stage's"])
        | st.sampled_from(["another source", "data of tomorrow"]),
        status=st.sampled_from(["available", "available", "failed", "copying"]),
    )
    def somebody_takes_a_snapshot(self, index: int, kind: str, status: str) -> None:
        """One of this account's own that is like a copy of ours, and is none."""
        database, self.others = self._database(index), self.others + 1
        policy = database.copy_policy or CopyPolicy(database.criteria, KEYS[0], 1, "/none")
        share = next(iter(self.model.shares(database)), None)
        source = share.arn if share else arn("gone")
        taken = share.created if share and share.created else self.aws.time
        name = f"aurora-refresh-copy-{self.others:032x}"
        if kind == "our tags":
            name = f"before-the-migration-{self.others}"
        elif kind in ("the very name", "another source"):
            name = policy.name(source, taken)
        elif kind == "data of tomorrow":
            taken = self.aws.time + timedelta(days=1)
            name = policy.name(source, taken)
        own = arn(name, ACCEPTANCE)
        if self.snapshots.get(own):
            return
        self._take(name, database, status)
        if kind not in ("our prefix", "the very name"):
            latest = "/staging/latest" if kind == "another stage's" else database.latest_parameter
            self.snapshots.tags[own] = {
                "aurora-refresh:made-for": latest,
                "aurora-refresh:source": source,
                "aurora-refresh:taken": taken.isoformat(),
            }
        if kind == "another source":
            self.snapshots.sources[own] = arn("theirs", "999999999999")

    def _take(self, name: str, database: Database, status: str) -> None:
        engine, version = ENGINES[database.name]
        facts = {"engine": engine, "engine_version": version, "status": status}
        taken = snapshot(name, ACCEPTANCE, cluster=database.name, created=self.aws.time, **facts)
        self.snapshots.all.append(taken)
        self.snapshots.seen.pop(taken.arn, None)
        self.snapshots.sources.pop(taken.arn, None)
        self.snapshots.deleted.discard(taken.arn)

    @rule()
    def others_copy_as_many_as_rds_allows(self) -> None:
        for _ in range(COPIES_UNDER_WAY):
            self.others += 1
            self._take(f"theirs-{self.others}", self._database(0), "copying")

    @rule(
        index=INDEX,
        which=st.lists(WHICH, min_size=1, max_size=3),
        deploy=st.sampled_from([False, False, True]),
        nights=st.integers(0, 2),
    )
    def operator_pins(self, index: int, which: list[int], deploy: bool, nights: int) -> None:
        """Pin any snapshots, also old copies; and nobody refreshes for some nights."""
        cluster = self._database(index).name
        found = [each.arn for each in self.snapshots.all if each.cluster == cluster]
        for each in which if found else ():
            chosen = found[each % len(found)]
            self._attempt("pin", lambda value=chosen: self._pin(index, value, deploy=deploy), None)
        self.quiet_nights_pass(nights, None)

    @rule(index=INDEX, call=st.sampled_from(["get", "put", "put"]), nights=st.integers(0, 2))
    def operator_pins_latest(self, index: int, call: str, nights: int) -> None:
        """The poll moves `latest` just as somebody pins what it names."""
        self.quiet_nights_pass(nights, None)
        self.a_night_passes(0, ([], []), (None, "available"), 0, None)
        fault = ("poll", "before", call, 1)
        self._attempt("pin", lambda: self._pin(index, "latest", deploy=False), fault)

    def _pin(self, index: int, value: str, *, deploy: bool) -> object:
        request = PinRequest(value, "ann", "try", deploy)
        return pin(self.settings, self.aws, self._database(index), request)

    def _run_ends(self, status: str | None) -> None:
        runs = self.aws.pipelines.pipelines[PIPELINE]
        if status and runs and runs[-1].in_progress:
            self.aws.time += timedelta(minutes=3)
            self.aws.pipelines.finish(PIPELINE, status)
            self.aws.time += timedelta(minutes=3)

    # --- the schedules ---

    @rule(
        function=st.sampled_from(["update", "poll", "poll"]),
        minutes=st.sampled_from([1, 15, 600]),
        attempts=ATTEMPTS,
    )
    def a_function_runs(self, function: str, minutes: int, attempts: list[Any]) -> None:
        self.aws.time += timedelta(minutes=minutes)
        self._deliver(function, attempts)

    @rule(
        news=st.sampled_from([None, 0, 0, 1, 30]),
        attempts=st.tuples(ATTEMPTS, ATTEMPTS),
        end=st.tuples(st.none() | WHICH, HOW),
        polls=st.integers(0, 2),
        promotion=st.none() | ATTEMPTS,
        run=RUN_ENDS,
    )
    def a_night_passes(
        self,
        news: int | None,
        attempts: tuple[list[Any], list[Any]],
        end: tuple[int | None, str],
        polls: int,
        promotion: list[Any] | None,
        run: str | None = None,
    ) -> None:
        """The promotion may come before the newest copy, or before `latest` names it."""
        self._run_ends("Succeeded")
        night = self.aws.time.replace(hour=2, minute=0) + timedelta(days=1)
        self.aws.time = night
        if news is not None:
            for index, _ in enumerate(self.settings.databases):
                self.production_shares(index, news, {}, unencrypted=False)
        self._deliver("update", attempts[0])
        self.copies_end(*end)
        for _ in range(polls):
            self._deliver("poll", attempts[1])
        if promotion is not None:
            self.aws.time = night + timedelta(hours=2)
            self._deliver("promote", promotion)
            self._run_ends(run)

    @rule(nights=st.integers(1, 3), run=RUN_ENDS)
    def quiet_nights_pass(self, nights: int, run: str | None) -> None:
        """Everything is as it should be; without a run, nothing is promoted."""
        self.snapshots.denied.clear()
        for _ in range(nights):
            self.copies_end(None, "available")
            self.a_night_passes(0, ([], []), (None, "available"), 1, [] if run else None, run)
            self._deliver("poll", [])

    # --- Lambda ---

    def _deliver(self, function: str, attempts: Sequence[Any]) -> None:
        """Make up to three attempts, a minute and two apart."""
        scheduled = self.aws.time
        uses: dict[str, Callable[[], Result]] = {
            "update": lambda: update(self.settings, self.aws, scheduled),
            "poll": lambda: poll(self.settings, self.aws),
            "promote": lambda: promote(self.settings, self.aws, scheduled),
        }
        for delay, fault in zip((0, 1, 2), [*attempts, None, None, None], strict=False):
            self.aws.time += timedelta(minutes=delay)
            if self._attempt(function, uses[function], fault):
                return

    def _attempt(self, function: str, use: Callable[[], Any], fault: Any) -> bool:
        """Return whether it ended; what it wrote is judged in any case."""
        calls = 0

        def interrupt(when: str, operation: str) -> None:
            nonlocal calls
            if fault and (when, operation) == fault[1:3]:
                calls += 1
                if calls == fault[3]:
                    self._strike(function, fault[0], operation)

        before = {each: self.model.latest(each) for each in self.settings.databases}
        promotable = {each: self.model.promotable(each) for each in self.settings.databases}
        existing, sent = set(self.snapshots.made), len(self.aws.notifier.sent)
        refused = set(self.snapshots.refused)
        if function == "poll" and not fault:
            self.snapshots.refused.clear()  # those for which there still are too many come again
        self.is_silent = bool(fault and fault[2] == "_publish")
        self.sent, self.aws.interrupt = sent, interrupt
        result, error = None, None
        try:
            result = use()
        except Killed:
            pass
        except RefreshError as raised:
            error = raised
        finally:
            self.aws.interrupt = lambda when, operation: None
        made = set(self.snapshots.made) - existing
        copied = {self.snapshots.made[each].source.cluster for each in made}
        allowed = refused if function == "poll" else set()
        assert function == "update" or copied <= allowed or fault, f"{function} made {made}"
        self._check_versions(promotable)
        self._check_copies(made, is_alone=not calls)
        if function in ("update", "poll"):
            assert error is None or isinstance(error, AwsError), repr(error)
            is_done = {"update": self._is_updated, "poll": self._is_polled}[function]
            behind = [each.name for each in before if not is_done(each, before[each])]
            is_one = error and fault[2] in OF_ONE
            assert (calls and not is_one) or len(behind) <= bool(error), f"{behind} is not done"
        if result and not calls:
            self._check_result(function, result, can_start=all(promotable.values()))
        return result is not None

    def _strike(self, function: str, way: str, operation: str) -> None:
        if way == "kill":
            raise Killed
        if way in ("refuse", "lose"):
            raise AwsError(operation, "it", "Fault", "", answered=way == "refuse")
        if way not in BESIDE[function]:
            return
        interrupt, self.aws.interrupt = self.aws.interrupt, lambda when, operation: None
        with suppress(RefreshError):
            if way == "update":
                update(self.settings, self.aws, self.aws.time)
            elif way == "poll":
                poll(self.settings, self.aws)
            elif way == "rds":
                self.copies_end(None, "available")
            else:
                self._pin(0, self.snapshots.all[-1].arn, deploy=False)
        self.aws.interrupt = interrupt

    # --- what must hold ---

    def _versions(self) -> dict[str, int]:
        return {name: kept[-1].number for name, kept in self.aws.parameters.kept.items()}

    def _check_versions(self, promotable: dict[Database, str | None]) -> None:
        """Whatever was written to `latest` and promoted to `current` may be there."""
        for database in self.settings.databases:
            name = database.latest_parameter
            for version in self.aws.parameters.kept.get(name, []):
                if version.number > self.audited.get(name, 0):
                    policy = database.copy_policy
                    allowed = (
                        self.model.usable(database, "available")
                        if policy
                        else self.model.shares(database)
                    )
                    assert version.value in {each.arn for each in allowed}, f"{name}: {version}"
            name = database.current_parameter
            for version in self.aws.parameters.kept[name]:
                if version.number > self.audited.get(name, 0) and version.action == "promote":
                    assert version.value == promotable[database], f"{name}: {version}"
            current = self.aws.values()[name]
            assert current not in self.snapshots.deleted, f"{current} was deleted, and is needed"
        self.audited = self._versions()

    def _check_copies(self, made: set[str], *, is_alone: bool) -> None:
        """Each share is copied once, and only the newest one, if its copy can be promoted."""
        copies = [(each.recency, each.key) for each in self.snapshots.made.values()]
        assert len(copies) == len(set(copies)), "a share was copied twice"
        for copy in made if is_alone else ():
            source = self.snapshots.made[copy].source
            (database,) = (each for each in self.with_copies if each.name == source.cluster)
            assert source == self.model.shares(database)[0], f"{source.arn} was copied"
            newest = self.model.usable(database, "available", "copying")[0].arn
            assert newest == copy, f"{copy} can never be promoted"

    def _is_updated(self, database: Database, before: str | None) -> bool:
        why = self.model.why_no_copy(database) if database.copy_policy else None
        if why:
            return why != "not asked for" and self.model.latest(database) == before
        return self.model.latest(database) == (self.model.due(database) or before)

    def _is_polled(self, database: Database, before: str | None) -> bool:
        if database.copy_policy is None:
            return self.model.latest(database) == before
        leading = self.model.leading(database) | {before}
        return (
            self.model.latest(database) == (self.model.due(database) or before)
            and not self.model.copies(database, "failed")
            and all(
                each.arn in leading
                or not self.model.is_beyond_number(database, each.arn, at_least=False)
                for each in self.model.copies(database, "available")
            )
        )

    def _check_result(self, function: str, result: Any, *, can_start: bool) -> None:
        if function == "promote":
            assert can_start or result.outcome != "started", "what must wait was promoted"
            assert not can_start or result.reason in (None, "nothing-new"), result.reason
        for entry in result.databases if function == "update" else ():
            (database,) = (each for each in self.settings.databases if each.name == entry.name)
            if database.copy_policy:
                assert entry.reason == self.model.why_no_copy(database), entry
                pending = None if entry.reason else self.model.pending(database)
                assert (entry.copy.arn if entry.copy else None) == pending, entry

    def _may_be_deleted(self, deleted: str) -> None:
        made, found = self.snapshots.made.get(deleted), self.snapshots.get(deleted)
        assert made, f"{deleted} is not ours, and is deleted"
        (database,) = (each for each in self.with_copies if each.name == made.source.cluster)
        if found and found.status == "failed":
            told = any(made.source.arn in each.body for each in self.aws.notifier.sent[self.sent :])
            assert told or self.is_silent, "nobody hears of a failed copy"
            return
        assert found
        assert found.status == "available", f"{deleted} is in progress, and is deleted"
        assert deleted not in self.model.leading(database), f"{deleted} is needed, and is deleted"
        assert self.model.is_beyond_number(database, deleted, at_least=True), f"{deleted} is young"
