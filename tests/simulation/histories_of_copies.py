"""Random histories of stages that promote copies under their own key, and let old ones go.

Every rule and guarantee of the other histories holds here as well.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain, cycle
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from chalicelib.domain.database import Database
from chalicelib.domain.errors import RefreshError, Refused
from chalicelib.domain.ledger import Note
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import promote
from chalicelib.usecases.update_latest import update
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, InMemoryAws, arn, snapshot
from tests.simulation.histories import ATTEMPTS, BEHAVIOURS, ENDS, WAYS, Histories
from tests.simulation.model import ENGINES, START, variables
from tests.simulation.model_of_copies import ModelOfCopies, WatchedSnapshots
from tests.simulation.world import Behaviour, World

KEYS = ("alias/acceptance", "alias/another")
LATELY = st.sampled_from(["available", "available", "available", "failed", "copying", "deleted"])

# One fault at any call that the update or the poll makes.
COPY_FAULTS = st.tuples(
    WAYS,
    st.sampled_from(["own", "copy", "delete", "shared", "put", "get", "history", "_publish"]),
    st.sampled_from([1, 1, 2]),
).map(lambda fault: (*fault[0], *fault[1:]))
COPY_ATTEMPTS = st.lists(st.none() | COPY_FAULTS, max_size=3)


def side_by_side(
    aws: InMemoryAws, calls: Sequence[Callable[[], object]], order: Sequence[int]
) -> None:
    """Run all to their ends, one AWS call at a time: `order` says whose call is next."""
    go = [threading.Semaphore(0) for _ in calls]
    paused = threading.Semaphore(0)
    broken: list[Exception] = []
    turns = {}

    def wait_for_turn(when: str, operation: str) -> None:
        if when == "before":
            paused.release()
            go[turns[threading.get_ident()]].acquire()

    def run(index: int) -> None:
        turns[threading.get_ident()] = index
        broken.extend(_broken(calls[index]))
        working.discard(index)
        paused.release()

    aws.interrupt = wait_for_turn
    working = set(range(len(calls)))
    threads = [threading.Thread(target=run, args=(index,)) for index in working]
    for thread in threads:
        thread.start()
        paused.acquire()
    for index in chain(order, cycle(range(len(calls)))):
        if index in working:
            go[index].release()
            paused.acquire()
        elif not working:
            break
    for thread in threads:
        thread.join()
    aws.interrupt = lambda when, operation: None
    for error in broken:
        raise error


def _broken(call: Callable[[], object]) -> list[Exception]:
    """Return what went wrong in a thread; what AWS does not do is no fault."""
    try:
        with suppress(RefreshError):
            call()
    except Exception as error:  # noqa: BLE001 (it is raised again in the main thread)
        return [error]
    return []


class HistoriesOfCopies(Histories):
    """One account's history, of a stage with copies."""

    @initialize(
        two=st.booleans(),
        behaviour=BEHAVIOURS,
        latest=st.booleans(),
        copied=st.sampled_from(["RDS", "DOCS", "both", "both"]),
        keep=st.sampled_from(["1", "1", "2"]),
    )
    def begin(  # type: ignore[override]
        self, two: bool, behaviour: Behaviour, latest: bool, copied: str, keep: str
    ) -> None:
        self.copied = ["RDS", "DOCS"] if copied == "both" else [copied]
        self.copied = self.copied if two else ["RDS"]
        keeps = {f"{name}_COPIES_TO_KEEP": keep for name in self.copied}
        self.variables = variables(two=two, stacks="one") | keeps
        self.aws = World(START, behaviour)
        self.aws.snapshots = self.watched = WatchedSnapshots(self.aws)
        self.watched.judge = self._may_be_deleted
        self._configure(KEYS[0])
        self._bootstrap("one")
        self.others = 0
        self.latest_audited = dict.fromkeys(
            [each.latest_parameter for each in self.settings.databases], 0
        )
        if latest:
            for name in self.latest_audited:
                self.aws.parameters.put(name, "dummyvalue", Note("bootstrap", "setup", ""))
                self.latest_audited[name] = 1

    def _configure(self, key: str | None) -> None:
        keys = {f"{name}_COPY_KMS_KEY_ID": key for name in self.copied if key}
        self.settings = Settings.from_environment(self.variables | keys)
        self.model = self.copies = ModelOfCopies(self.settings, self.aws)

    @property
    def with_copies(self) -> list[Database]:
        """The databases that have some now."""
        return [database for database in self.settings.databases if database.copy_policy]

    # --- the aws ---

    @rule(key=st.sampled_from([*KEYS, None]), polled=st.booleans())
    def the_stage_is_deployed_with(self, key: str | None, polled: bool) -> None:
        """Another key; or none: shares are promoted again."""
        self._configure(key)
        if polled:
            self.a_poll_comes([])

    @rule(index=st.integers(0, 1), hours=st.integers(0, 48))
    def production_shares_unencrypted(self, index: int, hours: int) -> None:
        self.production_shares(index, hours, {})
        self.watched.unencrypted.add(self.watched.all[-1].arn)

    @rule(which=st.none() | st.integers(0, 9), how=LATELY)
    def copies_end(self, which: int | None, how: str) -> None:
        """All of them, or one."""
        under_way = [each.arn for each in self.watched.all if each.status == "copying"]
        if under_way and which is not None:
            under_way = [under_way[which % len(under_way)]]
        for each in under_way:
            self._copy_ends(each, how)

    def _copy_ends(self, ended: str, how: str) -> None:
        if how == "deleted":
            self.watched.lose(ended)
        else:
            self.watched.all = [
                each._replace(status=how) if each.arn == ended else each
                for each in self.watched.all
            ]

    @precondition(lambda self: self.copies.made)
    @rule(which=st.integers(0, 99))
    def a_source_goes_away(self, which: int) -> None:
        """What is being made of it fails; what was made of it stays."""
        made = list(self.copies.made.items())
        copy, of = made[which % len(made)]
        self.watched.all = [each for each in self.watched.all if each.arn != of.source.arn]
        if any(each.arn == copy and each.status == "copying" for each in self.watched.all):
            self._copy_ends(copy, "failed")

    @rule(key=st.sampled_from(KEYS), denied=st.booleans())
    def a_key_is_denied_or_mended(self, key: str, denied: bool) -> None:
        if not denied:
            self.watched.denied.discard(key)
            return
        self.watched.denied.add(key)
        for copy, made in self.copies.made.items():
            if made.key == key and self._status(copy) == "copying":
                self._copy_ends(copy, "failed")

    def _status(self, value: str) -> str | None:
        return next((each.status for each in self.watched.all if each.arn == value), None)

    @rule(
        kind=st.sampled_from(["our prefix", "the very name", "our tags", "another stage's"]),
        hours=st.integers(0, 200),
        status=st.sampled_from(["available", "available", "failed", "copying"]),
        database=st.sampled_from(["rds", "docs"]),
    )
    def somebody_takes_a_snapshot(self, kind: str, hours: int, status: str, database: str) -> None:
        """Of this account's own, and like a copy of ours: but not one."""
        self.others += 1
        share = self.copies.newest_share(self.settings.databases[0])
        copying = self.settings.databases[0].copy_policy
        name = f"aurora-refresh-copy-{self.others:032x}"
        if kind == "our tags":
            name = f"before-the-migration-{self.others}"
        elif kind == "the very name" and share and copying:
            name = copying.name_for(share)
        taken = arn(name, ACCEPTANCE)
        if any(each.arn == taken for each in self.watched.all):
            return
        self._take(name, database, status, hours)
        if kind in ("our tags", "another stage's"):
            latest = self.settings.databases[0].latest_parameter
            self.watched.tags[taken] = {
                "aurora-refresh:made-for": latest if kind == "our tags" else "/staging/latest",
                "aurora-refresh:source": arn("first-rds"),
                "aurora-refresh:taken": (self.aws.time - timedelta(hours=hours)).isoformat(),
            }

    def _take(self, name: str, database: str, status: str, hours: int) -> None:
        self.watched.made.pop(arn(name, ACCEPTANCE), None)
        engine, version = ENGINES[database]
        self.watched.all.append(
            snapshot(
                name,
                ACCEPTANCE,
                cluster=database,
                engine=engine,
                engine_version=version,
                status=status,
                created=self.aws.time - timedelta(hours=hours),
            )
        )

    @rule()
    def others_copy_as_many_as_rds_allows(self) -> None:
        for _ in range(COPIES_UNDER_WAY):
            self.others += 1
            self._take(f"theirs-{self.others}", "rds", "copying", 1)

    # --- operators ---

    @precondition(lambda self: self.copies.made)
    @rule(which=st.integers(0, 99), deploy=st.booleans())
    def operator_pins_a_copy(self, which: int, deploy: bool) -> None:
        """Also an old one."""
        made = list(self.copies.made)
        chosen = made[which % len(made)]
        self.operator_pins([each.arn for each in self.watched.all].index(chosen), deploy, None)

    @precondition(lambda self: self.copies.made)
    @rule(which=st.integers(0, 99))
    def operator_deletes_a_copy(self, which: int) -> None:
        made = list(self.copies.made)
        self.watched.lose(made[which % len(made)])

    # --- the schedules ---

    @rule(attempts=COPY_ATTEMPTS, minutes=st.sampled_from([1, 15, 600]))
    def the_poll_comes(self, attempts: list[Any], minutes: int) -> None:
        self.aws.time += timedelta(minutes=minutes)
        self.a_poll_comes(attempts)

    def a_poll_comes(self, attempts: list[Any]) -> None:
        before = {each.name: self.copies.latest(each) for each in self.with_copies}
        ending = super().a_poll_comes(attempts)
        if ending == "answered":
            self._the_poll_is_through(before)

    @rule(
        trouble=st.sampled_from([None, None, None, "quota", "denied", "unencrypted", "name"]),
        attempts=COPY_ATTEMPTS,
        how=LATELY,
        again=st.booleans(),
        polls=st.lists(COPY_ATTEMPTS, max_size=2),
    )
    def an_update_asks(
        self,
        trouble: str | None,
        attempts: list[Any],
        how: str,
        again: bool,
        polls: list[list[Any]],
    ) -> None:
        """New data, an update that fails somewhere, copies that end somehow, and polls."""
        self._to_an_on_week()
        self.aws.time = self._next_sunday(2)
        for index, _ in enumerate(self.settings.databases):
            if trouble == "unencrypted":
                self.production_shares_unencrypted(index, 0)
            else:
                self.production_shares(index, 0, {})
        if trouble == "quota":
            self.others_copy_as_many_as_rds_allows()
        elif trouble == "denied":
            for key in KEYS:
                self.a_key_is_denied_or_mended(key, denied=True)
        elif trouble == "name":
            self.somebody_takes_a_snapshot("the very name", 1, "available", "rds")
        self.a_schedule_fires("update", 0, attempts, jump=False)
        self.copies_end(None, how)
        if again:
            self._deliver("update", self.aws.time, [])
        for each in polls:
            self.the_poll_comes(each, 15)

    @rule()
    def only_an_older_share_is_left(self) -> None:
        """All that was copied is shared no more: a copy of the older one could never be *latest*."""
        self._evening()
        sources = {made.source.arn for made in self.copies.made.values()}
        self.watched.all = [each for each in self.watched.all if each.arn not in sources]
        for index, _ in enumerate(self.settings.databases):
            self.production_shares(index, 100, {})
        self._deliver("update", self.aws.time, [])

    @rule(weeks=st.integers(1, 3))
    def nights_without_promotion_pass(self, weeks: int) -> None:
        for _ in range(weeks):
            self._evening()

    @rule(
        how=LATELY,
        polled=st.booleans(),
        late=st.sampled_from([0, 2, 179]),
        attempts=ATTEMPTS,
        ends=ENDS,
    )
    def a_night_passes_while_copying(
        self, how: str, polled: bool, late: int, attempts: list[Any], ends: str | None
    ) -> None:
        """The promotion may come before the newest copy, or before *latest* has moved to it."""
        self._evening()
        for index, _ in enumerate(self.settings.databases):
            self.production_shares(index, 1, {})
        self._deliver("update", self.aws.time, [])
        self.copies_end(None, how)
        if polled:
            self.a_poll_comes([])
        else:
            self.next_poll = self._next_sunday(4) + timedelta(minutes=late + 1)
        self.a_schedule_fires("promote", late, attempts, jump=False)
        self._its_run_ends(ends)

    @rule(
        first=st.sampled_from(["update", "copies"]),
        second=st.sampled_from(["update", "copies", "promote", "pin"]),
        how=LATELY,
        order=st.lists(st.integers(0, 1), max_size=14),
    )
    def functions_run_side_by_side(
        self, first: str, second: str, how: str, order: list[int]
    ) -> None:
        """Two deliveries of one event, or two functions, call by call in any order."""
        if not self.with_copies:
            return
        if second in ("promote", "pin"):
            first = "copies"  # what an update asks for meanwhile is no concern of theirs
        self._evening()
        for index, _ in enumerate(self.settings.databases):
            self.production_shares(index, 1, {})
        if how != "copying":
            self._deliver("update", self.aws.time, [])
            self.copies_end(None, how)
        scheduled = self.aws.time = self._next_sunday(4)
        runs = set(self._ours())
        uses: dict[str, Callable[..., Result | None]] = {
            "update": update,
            "copies": lambda stage, aws, _: poll(stage, aws),
            "promote": promote,
            "pin": self._latest_is_pinned,
        }
        side_by_side(
            self.aws,
            [
                lambda use=uses[name]: use(self.settings, self.aws, scheduled)  # type: ignore[misc]
                for name in (first, second)
            ],
            order,
        )
        started = self._ours() - runs
        assert not started or second == "promote"
        self.runs_of.setdefault(scheduled, set()).update(started)
        if second == "promote":
            self.fired.append(("promote", scheduled))
            self._audit(("promote", scheduled))
        elif second == "pin":
            self._audit(("pin", None))
        else:
            self._audit(("poll", None))
        self._latest_may_be_what_it_is()

    @rule(order=st.lists(st.integers(0, 1), min_size=4, max_size=14))
    def the_poll_comes_while_latest_is_pinned(self, order: list[int]) -> None:
        """What the operator's request has read, *latest* leads to no more."""
        self.functions_run_side_by_side("copies", "pin", "available", order)

    def _latest_is_pinned(self, *_: object) -> None:
        database = self.with_copies[0]
        self.wished |= {each.arn for each in self.watched.all}
        with suppress(Refused):
            pin(self.settings, self.aws, database, PinRequest("latest", "kim", "", deploy=False))  # type: ignore[arg-type]

    def _evening(self) -> None:
        """The copies are made in time, and *latest* is the newest of them."""
        self.watched.denied.clear()
        self.copies_end(None, "available")
        super()._evening()
        self.copies_end(None, "available")
        self.a_poll_comes([])

    # --- Lambda ---

    def _deliver(self, function: str, scheduled: datetime, attempts: list[Any]) -> Result | None:
        before = {each.name: self.copies.latest(each) for each in self.with_copies}
        result = super()._deliver(function, scheduled, attempts)
        if function == "update" and result and result.outcome != "skipped":
            self._the_update_tells(result, before)
        return result

    def _attempt(
        self, who: str, ask: Callable[[], Any], fault: Any, scheduled: datetime | None = None
    ) -> tuple[Any, str]:
        before = {each.arn for each in self.watched.all}
        result = super()._attempt(who, ask, fault, scheduled)
        after = {each.arn for each in self.watched.all}
        assert who == "update" or after <= before, f"{who} made {after - before}"
        for copied in after - before:
            self._was_to_be_copied(copied)
        is_poll = who == "poll" or (fault and fault[0] == "poll")
        assert is_poll or before <= after, f"{who} deleted {before - after}"
        self._latest_may_be_what_it_is()
        return result

    # --- what must hold ---

    def _latest_is_the_newest(self, database: Database) -> None:
        if not database.copy_policy:
            super()._latest_is_the_newest(database)

    def _was_to_be_copied(self, copied: str) -> None:
        """It is the copy of the newest eligible share, and of newer data than any other."""
        source = self.copies.made[copied].source
        (database,) = (each for each in self.with_copies if ENGINES[each.name][0] == source.engine)
        assert source == self.copies.newest_share(database), f"{source.arn} was copied"
        assert self.copies.usable(database, "available", "copying")[0].arn == copied, (
            f"{copied} was made, which can never be promoted"
        )

    def _the_update_tells(self, answer: Result, before: dict[str, str | None]) -> None:
        for database, told in zip(self.settings.databases, answer.databases, strict=True):
            if not database.copy_policy:
                continue
            expected = self.copies.why_no_copy(database)
            assert told.reason == expected, f"{told.reason} instead of {expected}"
            if expected:
                assert self.copies.latest(database) == before[database.name]
                continue
            self._latest_is_the_newest_copy(database, before)
            pending = self.copies.pending(database)
            assert (told.copy.arn if told.copy else None) == (pending.arn if pending else None)

    def _the_poll_is_through(self, before: dict[str, str | None]) -> None:
        for database in self.with_copies:
            assert database.copy_policy
            self._latest_is_the_newest_copy(database, before)
            assert not self.copies.copies(database, "failed"), "a failed copy stays"
            leading = self.copies.referenced(database) | {before[database.name]}
            for each in self.copies.copies(database, "available"):
                newer = self.copies.as_new_as(database, each, strictly=True)
                assert len(newer) < database.copy_policy.keep or each.arn in leading, (
                    f"{each.arn} stays, and nothing leads to it"
                )

    def _latest_is_the_newest_copy(self, database: Database, before: dict[str, str | None]) -> None:
        newest = [each.arn for each in self.copies.usable(database, "available")][:1]
        assert self.copies.latest(database) == (newest[0] if newest else before[database.name])

    def _may_be_deleted(self, deleted: str) -> None:
        status = self._status(deleted)
        if status is None:
            return  # another delivery was faster
        assert deleted in self.copies.made, f"{deleted} is not ours, and is deleted"
        assert status in ("available", "failed"), f"{deleted} is {status}, and is deleted"
        for database in self.with_copies:
            assert deleted not in self.copies.referenced(database), f"{deleted} is still needed"
            for each in self.copies.copies(database, "available"):
                if each.arn == deleted:
                    kept = self.copies.as_new_as(database, each)
                    assert database.copy_policy
                    assert len(kept) > database.copy_policy.keep, (
                        f"{deleted} is one of those to keep"
                    )

    def _latest_may_be_what_it_is(self) -> None:
        """Whatever was just written to *latest* was eligible: where copies are made, as a copy."""
        for database in self.settings.databases:
            name = database.latest_parameter
            kept = self.aws.parameters.kept.get(name, [])
            for entry in kept:
                if entry.number <= self.latest_audited[name]:
                    continue
                eligible = (
                    self.copies.usable(database, "available")
                    if database.copy_policy
                    else [
                        each for each in self.copies.shared if self.copies.eligible(each, database)
                    ]
                )
                assert entry.value in {each.arn for each in eligible}, (
                    f"{name} became {entry.value}"
                )
            self.latest_audited[name] = kept[-1].number if kept else 0

    @invariant()
    def a_share_is_copied_at_most_once_under_one_key(self) -> None:
        if hasattr(self, "copies"):
            made = [(made.source.arn, made.key) for made in self.copies.made.values()]
            assert len(made) == len(set(made)), "a share was copied twice"
