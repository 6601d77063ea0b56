"""Alarm list: the nine states, legal transitions only, one root cause one alarm."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ctrl.records.alarms import KEEP, MAX_SHELVE_S, AlarmError, AlarmList, AlarmSpec, State


def spec(name: str, priority: str = "medium", **more) -> AlarmSpec:
    return AlarmSpec(name, f"{name} happened", priority, "do something", f"{name} > 1", **more)


@pytest.fixture
def alarms() -> AlarmList:
    return AlarmList(
        [
            spec("hot", "critical", latching=True),
            spec("plc_lost", "high"),
            spec("temp_bad", parent="plc_lost"),
            spec("deviation", "low", parent="temp_bad"),
            spec("air_low", "high"),
        ]
    )


def test_from_normal_to_normal(alarms):
    alarms.update(1, "air_low", True)
    assert alarms.state("air_low") is State.UNACK
    alarms.ack(2, "air_low", "meier")
    assert alarms.state("air_low") is State.ACK
    alarms.update(3, "air_low", False)
    assert alarms.state("air_low") is State.NORMAL
    assert [(c.old, c.new, c.user) for c in alarms.journal] == [
        (State.NORMAL, State.UNACK, ""),
        (State.UNACK, State.ACK, "meier"),
        (State.ACK, State.NORMAL, ""),
    ]


def test_gone_before_anyone_looked(alarms):
    alarms.update(1, "air_low", True)
    alarms.update(2, "air_low", False)
    assert alarms.state("air_low") is State.RTN_UNACK
    assert alarms.view()[0]["since"] == 1
    alarms.update(3, "air_low", True)
    assert alarms.state("air_low") is State.UNACK
    alarms.update(4, "air_low", False)
    alarms.ack(5, "air_low", "meier")
    assert alarms.state("air_low") is State.NORMAL


def test_a_latching_alarm_stays_until_reset(alarms):
    alarms.update(1, "hot", True)
    alarms.update(2, "hot", False)
    assert alarms.state("hot") is State.LATCHED_UNACK
    with pytest.raises(AlarmError, match="only a latched and acknowledged"):
        alarms.reset(3, "hot", "meier")
    alarms.ack(3, "hot", "meier")
    assert alarms.state("hot") is State.LATCHED_ACK
    alarms.update(4, "hot", True)  # again: a new alarm
    assert alarms.state("hot") is State.UNACK
    alarms.ack(5, "hot", "meier")
    alarms.update(6, "hot", False)
    alarms.reset(7, "hot", "meier")
    assert alarms.state("hot") is State.NORMAL


def test_one_root_cause_is_one_alarm(alarms):
    alarms.update(1, "temp_bad", True)  # the child is seen first
    alarms.update(2, "plc_lost", True)
    alarms.update(2, "deviation", True)
    shown = [row["name"] for row in alarms.view() if row["state"] == "unack"]
    assert shown == ["plc_lost"]
    assert alarms.state("temp_bad") is alarms.state("deviation") is State.SUPPRESSED
    changes = alarms.update(3, "plc_lost", False)
    assert [(c.name, c.new) for c in changes] == [("plc_lost", State.RTN_UNACK), ("temp_bad", State.UNACK)]
    assert alarms.state("deviation") is State.SUPPRESSED  # by temp_bad, still active
    alarms.update(4, "temp_bad", False)
    assert alarms.state("deviation") is State.UNACK


def test_a_cause_out_of_service_suppresses_nothing(alarms):
    alarms.update(1, "plc_lost", True)
    alarms.update(1, "temp_bad", True)
    alarms.take_out(2, "plc_lost", "meier", "broken contact")
    assert alarms.state("temp_bad") is State.UNACK
    alarms.return_to_service(3, "plc_lost", "meier")
    assert alarms.state("plc_lost") is State.UNACK
    assert alarms.state("temp_bad") is State.SUPPRESSED


def test_suppressed_by_its_own_condition(alarms):
    alarms.update(1, "air_low", True, suppressed=True)
    assert alarms.state("air_low") is State.SUPPRESSED
    alarms.update(2, "air_low", True, suppressed=False)
    assert alarms.state("air_low") is State.UNACK


def test_shelving_ends_by_itself(alarms):
    alarms.update(1, "air_low", True)
    alarms.shelve(2, "air_low", 100, "meier", "filter is being changed")
    assert alarms.view()[0]["shelved_until"] == 100
    assert alarms.expire(99.9) == []
    assert [c.new for c in alarms.expire(100)] == [State.UNACK]
    alarms.shelve(101, "air_low", 200, "meier", "again")
    alarms.update(102, "air_low", False)
    assert alarms.unshelve(103, "air_low", "meier").new is State.NORMAL


def test_what_is_not_allowed_says_why(alarms):
    with pytest.raises(AlarmError, match="no alarm nobody"):
        alarms.update(1, "nobody", True)
    with pytest.raises(AlarmError, match="nothing to acknowledge"):
        alarms.ack(1, "air_low", "x")
    with pytest.raises(AlarmError, match="reason"):
        alarms.shelve(1, "air_low", 10, "x", " ")
    for until in (1.0, 1 + MAX_SHELVE_S + 1, math.nan):
        with pytest.raises(AlarmError, match="8 h"):
            alarms.shelve(1, "air_low", until, "x", "why")
    with pytest.raises(AlarmError, match="supervisor"):
        alarms.shelve(1, "hot", 10, "x", "why")
    assert alarms.shelve(1, "hot", 10, "x", "why", supervisor=True).new is State.SHELVED
    with pytest.raises(AlarmError, match="cannot be shelved"):
        alarms.shelve(2, "hot", 20, "x", "why", supervisor=True)
    with pytest.raises(AlarmError, match="not shelved"):
        alarms.unshelve(2, "air_low", "x")
    with pytest.raises(AlarmError, match="not out of service"):
        alarms.return_to_service(2, "air_low", "x")


def test_the_list_itself_is_checked():
    with pytest.raises(AlarmError, match="needs a response"):
        AlarmSpec("a", "text", "high", " ", "x > 1")
    with pytest.raises(AlarmError, match="priority 'urgent'"):
        AlarmSpec("a", "text", "urgent", "do", "x > 1")
    with pytest.raises(AlarmError, match="two alarms"):
        AlarmList([spec("a"), spec("a")])
    with pytest.raises(AlarmError, match="no alarm b"):
        AlarmList([spec("a", parent="b")])
    with pytest.raises(AlarmError, match="a -> b -> a"):
        AlarmList([spec("a", parent="b"), spec("b", parent="a")])


def test_the_most_urgent_comes_first_and_first_up_within_it(alarms):
    for utc, name in ((1, "air_low"), (2, "deviation"), (3, "plc_lost"), (4, "hot")):
        alarms.update(utc, name, True)
    alarms.shelve(5, "hot", 10, "x", "why", supervisor=True)
    assert [row["name"] for row in alarms.view()] == ["air_low", "plc_lost", "hot", "deviation"]
    assert len(alarms.view(everything=True)) == 5


def test_a_flood_is_bounded_and_keeps_its_order():
    names = [f"a{i}" for i in range(200)]
    alarms = AlarmList([spec(n) for n in names])
    for round_ in range(60):
        for name in names:
            alarms.update(round_, name, round_ % 2 == 0)
    assert len(alarms.journal) == KEEP
    assert [row["name"] for row in alarms.view()] == names


LEGAL = {
    (State.NORMAL, State.UNACK),
    (State.UNACK, State.ACK),
    (State.UNACK, State.RTN_UNACK),
    (State.UNACK, State.LATCHED_UNACK),
    (State.ACK, State.NORMAL),
    (State.ACK, State.LATCHED_ACK),
    (State.RTN_UNACK, State.NORMAL),
    (State.RTN_UNACK, State.UNACK),
    (State.LATCHED_UNACK, State.LATCHED_ACK),
    (State.LATCHED_UNACK, State.UNACK),
    (State.LATCHED_ACK, State.NORMAL),
    (State.LATCHED_ACK, State.UNACK),
    *[(s, State.SUPPRESSED) for s in State if s is not State.SUPPRESSED],
    *[(State.SUPPRESSED, s) for s in (State.NORMAL, State.UNACK)],
    *[(s, State.SHELVED) for s in State if s not in (State.SHELVED, State.SUPPRESSED, State.OUT_OF_SERVICE)],
    *[(State.SHELVED, s) for s in (State.NORMAL, State.UNACK)],
    *[(s, State.OUT_OF_SERVICE) for s in State if s is not State.OUT_OF_SERVICE],
    *[(State.OUT_OF_SERVICE, s) for s in (State.NORMAL, State.UNACK)],
}
NAMES = ("root", "child", "leaf", "latched")
names = st.sampled_from(NAMES)


class Alarms(RuleBasedStateMachine):
    """Anything may be asked in any order; only legal transitions happen and the states stay true."""

    @initialize()
    def start(self):
        self.list = AlarmList(
            [spec("root"), spec("child", parent="root"), spec("leaf", parent="child"), spec("latched", latching=True)]
        )
        self.utc = 0.0
        self.active = dict.fromkeys(NAMES, False)
        self.out = dict.fromkeys(NAMES, False)
        self.checked = 0

    def attempt(self, call, *args, **more):
        try:
            call(self.utc, *args, **more)
        except AlarmError:
            return False
        return True

    @rule(name=names, active=st.booleans(), suppressed=st.sampled_from([False, False, True]))
    def condition(self, name, active, suppressed):
        self.utc += 1
        self.list.update(self.utc, name, active, suppressed)
        self.active[name], self.out[name] = active, suppressed

    @rule(name=names)
    def ack(self, name):
        before = self.list.state(name)
        waiting = before in (State.UNACK, State.RTN_UNACK, State.LATCHED_UNACK)
        assert self.attempt(self.list.ack, name, "u") is waiting

    @rule(name=names)
    def reset(self, name):
        self.attempt(self.list.reset, name, "u")

    @rule(name=names, hours=st.floats(-1, 10))
    def shelve(self, name, hours):
        done = self.attempt(self.list.shelve, name, self.utc + hours * 3600, "u", "r")
        assert not done or 0 < hours <= 8

    @rule(name=names)
    def unshelve(self, name):
        self.attempt(self.list.unshelve, name, "u")

    @rule(seconds=st.floats(0, 40_000))
    def time_passes(self, seconds):
        self.utc += seconds
        self.list.expire(self.utc)
        assert all(row["shelved_until"] is None or row["shelved_until"] > self.utc for row in self.list.view())

    @rule(name=names, out=st.booleans())
    def service(self, name, out):
        if out:
            self.attempt(self.list.take_out, name, "u", "r")
        else:
            self.attempt(self.list.return_to_service, name, "u")

    @invariant()
    def only_legal_transitions(self):
        journal = list(self.list.journal)
        for change in journal[self.checked :]:
            assert (change.old, change.new) in LEGAL, change
        self.checked = len(journal)

    @invariant()
    def the_state_fits_the_condition(self):
        parents = {"child": ("root",), "leaf": ("child", "root")}
        for name in NAMES:
            state = self.list.state(name)
            if state in (State.SHELVED, State.OUT_OF_SERVICE):
                continue
            above = [p for p in parents.get(name, ()) if self.list.state(p) is not State.OUT_OF_SERVICE]
            covered = self.out[name] or any(self.active[p] for p in above)
            assert (state is State.SUPPRESSED) is covered
            if not covered:
                assert (state in (State.UNACK, State.ACK)) is self.active[name]


TestAlarms = Alarms.TestCase
TestAlarms.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
