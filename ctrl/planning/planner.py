"""The plan as a dated job: what it knows of the plant and of IT, when it decides on/off anew, what it offers.

It reads tags of the process image and profiles of feeds, remembers what forecasts need of the past, and gives offers.
It never writes an output. The same object runs live, in the site process, and in virtual time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ctrl.config.model import ProductionRules, RateControl, Site
from ctrl.messages import Profile
from ctrl.planning import forecasts as fc
from ctrl.planning.dispatch import Dispatch
from ctrl.planning.from_config import DispatchTags, spec_from_config, tags_from_config
from ctrl.planning.offers import offers
from ctrl.planning.plan import Plan
from ctrl.planning.state import Curve, Order, PlanInputs, PlanState
from ctrl.quality import UNCERTAIN_LAST, is_usable
from ctrl.signals.base import Orders
from ctrl.units import Quantity

Read = Callable[[str], tuple[float, int]]
"""tag -> (value, status)"""

SLOT_S: Final = 900.0
WEEK_SLOTS: Final = 96 * 7
KEEP_WEEKS: Final = 9  # of the past, at least
STOCK_OFF_T: Final = 2.0  # t between planned and real stock that count as an event
GROWN_T: Final = 0.01  # t by which an order grows that count as a change
LATE_IN_WINDOW: Final = 0.9  # a window average is taken as the window's once this share of it has passed


class Past:
    """Quarter-hour means of one tag, of the last `weeks`. Samples come by `add`; older history can be put in front."""

    def __init__(self, weeks: int) -> None:
        self.times: deque[float] = deque(maxlen=weeks * WEEK_SLOTS)
        self.values: deque[float] = deque(maxlen=weeks * WEEK_SLOTS)
        self._slot, self._sum, self._n = -1.0, 0.0, 0

    def seed(self, times: Sequence[float], values: Sequence[float]) -> None:
        """History from before the start, ascending."""
        self.times.extend(times)
        self.values.extend(values)

    def add(self, utc: float, value: float) -> None:
        """One sample; a finished quarter hour becomes its mean."""
        slot = utc // SLOT_S * SLOT_S
        if slot != self._slot and self._n:
            self.times.append(self._slot)
            self.values.append(self._sum / self._n)
            self._sum, self._n = 0.0, 0
        self._slot = slot
        self._sum += value
        self._n += 1

    def history(self) -> fc.History:
        """(utc s, values) as arrays."""
        return np.array(self.times), np.array(self.values)


@dataclass(frozen=True, slots=True)
class _Line:
    """What the line does and since when it was seen to do so, utc s."""

    on: bool
    since: float


@dataclass(frozen=True, slots=True)
class Task:
    """One plan to be made: from where, with what, and whether on/off is decided anew."""

    state: PlanState
    inputs: PlanInputs
    commit: bool


class Planner:
    """One plan of a site.

    read: values of tags now. clock_limits: whether the wall clock may abort a solve (live) or nodes alone (virtual).
    """

    def __init__(self, site: Site, name: str, read: Read, *, clock_limits: bool) -> None:
        self.name = name
        self.config = site.plans[name]
        self.spec = spec_from_config(site, name)
        self.tags: DispatchTags = tags_from_config(site, name)
        self.last: Plan | None = None
        self.plans = 0
        self.commits = 0
        self._read = read
        self._dispatch = Dispatch(self.spec, clock=clock_limits)
        self._profiles: dict[str, Profile] = {}
        self._orders: tuple[Order, ...] | None = None
        self._orders_at = -math.inf
        self._news: set[str] = set()
        self._owed = False  # a commitment that was due and could not be made
        self._stale_s = {
            f"{source}.{feed}": spec.stale_after.to("s")
            for source, part in site.sources.items()
            for feed, spec in part.feeds.items()
        }
        weeks = max(KEEP_WEEKS, self.config.forecasts.base_load.weeks)
        tags = (self.tags.base_load, self.tags.pv, self.tags.price)
        self.past = {tag: Past(weeks) for tag in tags if tag is not None}
        self._line: _Line | None = None  # None: not seen yet
        self._peak, self._month = 0.0, (0, 0)
        self._windows: set[int] = set()  # billing windows of the month that the peak is known from
        self._loop = next(
            (n for n, p in site.loops.items() if isinstance(p, RateControl) and p.setpoint.from_ == f"{name}.rate"),
            None,
        )
        self._pv_measure = next((f"{d}.pv_power" for d, p in site.devices.items() if "pv_power" in p.points), None)
        self._stock_estimate = next(
            (f"{n}.stock_est" for n, p in site.loops.items() if isinstance(p, ProductionRules)), None
        )

    # ------------------------------------------------------------------------------------------------ what comes in
    def take(self, answer: Profile | Orders) -> None:
        """News of a feed."""
        if isinstance(answer, Orders):
            if answer.tag == self.tags.orders:
                found = tuple(Order(o.id, o.due, o.mass_t) for o in answer.orders)
                if self._orders is None or _asks_more(found, self._orders):
                    self._news.add("orders")
                self._orders, self._orders_at = found, answer.issued_at
            return
        before = self._profiles.get(answer.tag)
        if answer.tag == self.tags.price and (before is None or set(answer.steps) - set(before.steps)):
            self._news.add("price")
        self._profiles[answer.tag] = answer

    @property
    def has_news(self) -> bool:
        """True when something became known on which, by `commit: on`, on/off is decided anew."""
        return bool(self._news & set(self.config.commit.on))

    def observe(self, utc: float) -> None:
        """Look at the plant; called once a minute or so."""
        for tag, source in ((self.tags.base_load, self.tags.base_load), (self.tags.pv, self._pv_measure)):
            if tag is not None and source is not None:
                value, status = self._read(source)
                if is_usable(status):
                    self.past[tag].add(utc, value)
        price = self._profiles.get(self.tags.price)
        known = price.value_at(utc) if price is not None else None
        if known is not None:
            self.past[self.tags.price].add(utc, known)
        if self._loop is not None:
            run, status = self._read(f"{self._loop}.run")
            if is_usable(status):
                self._line = self._seen(on=run > 0.5, utc=utc)
        self._watch_peak(utc)

    def _seen(self, *, on: bool, utc: float) -> _Line:
        """The line as it was seen at `utc` s. It runs or stands at least since then: what was before is not known.

        A state that is there again after its tag was bad is taken to have lasted.
        """
        return self._line if self._line is not None and self._line.on == on else _Line(on, utc)

    def _watch_peak(self, utc: float) -> None:
        if self.tags.measured_peak is None:
            return
        month = _month(utc, self.spec.timezone)
        if month != self._month:
            self._month, self._peak = month, 0.0
            self._windows.clear()
        average, status = self._read(self.tags.measured_peak)
        elapsed, elapsed_status = self._read(f"{self.tags.measured_peak}.elapsed")
        length = self.spec.prices.window_s
        if is_usable(status) and is_usable(elapsed_status) and elapsed >= LATE_IN_WINDOW * length:
            self._peak = max(self._peak, average)
            self._windows.add(round((utc - elapsed) / length))

    # ------------------------------------------------------------------------------------------------- what goes out
    def run(self, utc: float) -> tuple[Plan, tuple[Profile, ...]]:
        """Make a plan and its offers at once: prepare, solve, accept."""
        return self.accept(self.solve(self.prepare(utc)))

    def prepare(self, utc: float) -> Task:
        """Everything a plan starts from, copied, so that solving may happen in another thread.

        Raises ValueError, in plain words, when not even a state can be read.
        """
        state, inputs = self.state(utc), self.inputs(utc)
        commit = self._dispatch.commit_due(utc) or self.has_news or self._owed or self._drifted(state)
        self._news.clear()
        return Task(state, inputs, commit)

    def solve(self, task: Task) -> Plan:
        """The long part; touches nothing that `take` and `observe` touch. One at a time."""
        return self._dispatch.plan(task.state, task.inputs, task.commit)

    def accept(self, plan: Plan) -> tuple[Plan, tuple[Profile, ...]]:
        """Remember the plan and give its offers."""
        self.last = plan
        self.plans += 1
        found = plan.status in ("optimal", "relaxed")
        self.commits += int(found and plan.solved.committed)
        self._owed = plan.solved.owed or (plan.solved.committed and not found)
        return plan, offers(plan, self.spec)

    def _drifted(self, state: PlanState) -> bool:
        if "stock" not in self.config.commit.on or self.last is None:
            return False
        planned = [step.stock for step in self.last.steps if step.utc <= state.utc]
        return bool(planned) and abs(planned[-1] - state.stock) > STOCK_OFF_T

    def state(self, utc: float) -> PlanState:
        """The plant now, from its tags. Raises ValueError naming a tag that is bad and has no substitute."""
        stock = self._stock()
        line, rate = self._line_now(utc)
        average, elapsed = self._window(utc)
        return PlanState(
            utc=utc,
            soc=self._usable(self.tags.soc) if self.tags.soc else 0.0,
            stock=max(stock, 0.0),
            backlog=0.0,
            line_on=line.on,
            line_minutes=max(0.0, (utc - line.since) / 60.0),
            rate=rate,
            month_peak=self._peak,
            window_energy=max(0.0, average) * elapsed / 3600.0,
            window_elapsed=elapsed,
        )

    def _line_now(self, utc: float) -> tuple[_Line, float]:
        """The line and its rate t/h. Raises ValueError when either is not known: what may come next depends on it."""
        if self.spec.line is None:
            return _Line(on=False, since=utc), 0.0
        if self._loop is None:
            raise ValueError(f"no rate_control loop follows {self.name}.rate: what the line does is not known")
        line = self._line = self._seen(on=self._usable(f"{self._loop}.run") > 0.5, utc=utc)
        return line, self._usable(f"{self._loop}.out") if line.on else 0.0

    def _window(self, utc: float) -> tuple[float, float]:
        """Mean power kW of the billing window that holds `utc`, and how many seconds of it are in that mean.

        A plan is made on the edge of a window, when the last scan still belongs to the window before: then nothing of
        the new one has passed. Without the meter the window is as full as it may be: the rest of it gets no room that
        may be gone already, and the target is not raised for a peak that perhaps never was.
        """
        measured = self.tags.measured_peak
        if measured is None:
            return 0.0, 0.0
        length = self.spec.prices.window_s
        if not self._window_known():
            return self._allowed_kw(), utc % length
        average, elapsed = self._read(measured)[0], self._read(f"{measured}.elapsed")[0]
        if elapsed - utc % length > 0.5 * length:
            return 0.0, 0.0
        return average, elapsed

    def _window_known(self) -> bool:
        tag = self.tags.measured_peak
        return tag is None or all(is_usable(self._read(t)[1]) for t in (tag, f"{tag}.elapsed"))

    def _allowed_kw(self) -> float:
        """Import that the peak limiter allows at the least, kW: the peak known or expected, less its margin."""
        prices = self.spec.prices
        return max(self._peak, prices.expected_peak) * (1.0 - prices.peak_margin)

    def _stock(self) -> float:
        if self.tags.stock is None:
            return 0.0
        if self._stock_is_old() and self._stock_estimate is not None:
            return self._usable(self._stock_estimate)
        return self._usable(self.tags.stock)

    def _stock_is_old(self) -> bool:
        """True when the stock is the last one known, or none: the line has gone on since."""
        if self.tags.stock is None:
            return False
        status = self._read(self.tags.stock)[1]
        return not is_usable(status) or status & 0xFC == UNCERTAIN_LAST

    def _usable(self, tag: str) -> float:
        value, status = self._read(tag)
        if not is_usable(status):
            raise ValueError(f"{tag} is bad: no plan without it")
        return value

    def inputs(self, utc: float) -> PlanInputs:
        """What is expected over the horizon, with every substitute marked."""
        until = utc + self.spec.horizon_s
        zone = self.spec.timezone
        price_now = self._curve(self.tags.price, "EUR/kWh", utc)
        times, values = self.past[self.tags.price].history()
        price = fc.same_hour_last_week(price_now, (times, values / 1000.0), utc, until, zone)
        return PlanInputs(
            price=price,
            co2=self._or_constant(self.tags.co2, "g/kWh", utc, until, 0.0, "no CO2 intensity"),
            pv=self._pv(utc, until),
            base_load=fc.weekday_profile(
                self.past[self.tags.base_load].history(), utc, until, zone, weeks=self.config.forecasts.base_load.weeks
            ),
            sales=self._or_constant(self.tags.sales, "t/d", utc, until, 0.0, "no sales forecast"),
            orders=self._orders or (),
            notes=self._notes(utc),
            remarks=self._remarks(utc),
        )

    def _notes(self, utc: float) -> tuple[str, ...]:
        """Substitutes for what is not a curve."""
        notes = []
        if self.tags.orders is not None and self._orders is None:
            notes.append("orders: list not known")
        elif self.tags.orders is not None and utc - self._orders_at > self._stale_s[self.tags.orders]:
            notes.append(f"orders: list of {self._local(self._orders_at)} kept")
        if self._stock_is_old() and self._stock_estimate is not None:
            notes.append(f"stock: {self.tags.stock} is not fresh, carried on as {self._stock_estimate}")
        if not self._window_known():
            level = f"{self._allowed_kw():.0f} kW so far"
            notes.append(f"running billing window: {self.tags.measured_peak} is bad, taken as {level}")
        return tuple(notes)

    def _remarks(self, utc: float) -> tuple[str, ...]:
        """What is assumed of the month's peak. Too low a peak makes a plan hold more than it must, never less."""
        if self.tags.measured_peak is None:
            return ()
        length, zone = self.spec.prices.window_s, ZoneInfo(self.spec.timezone)
        begin = datetime(*_month(utc, self.spec.timezone), 1, tzinfo=zone).timestamp()
        over = range(math.ceil(begin / length), int(utc // length))
        unseen = sum(window not in self._windows for window in over)
        if not unseen:
            return ()
        peak = max(self._peak, self.spec.prices.expected_peak)
        return (f"peak of the month taken as {peak:.0f} kW, {unseen} of its windows were not seen",)

    def _local(self, utc: float) -> str:
        return f"{datetime.fromtimestamp(utc, ZoneInfo(self.spec.timezone)):%a %H:%M}"

    def _curve(self, tag: str | None, unit: str, utc: float) -> Curve | None:
        """What a feed says, in `unit`; None when it says nothing, or is older than its `stale_after`."""
        profile = self._profiles.get(tag) if tag is not None else None
        if tag is None or profile is None or utc - profile.issued_at > self._stale_s.get(tag, math.inf):
            return None
        return fc.from_profile(profile, unit, utc)

    def _or_constant(self, tag: str | None, unit: str, utc: float, until: float, value: float, why: str) -> Curve:
        curve = self._curve(tag, unit, utc)
        if curve is None and tag in self._profiles:
            return _kept(self._profiles[tag], unit, utc, until)
        if curve is None:
            return fc.constant(value, utc, until, tag or "none", substitute=why if tag is not None else "")
        # the tail of a forecast that ends before the horizon counts as its last value; only price has a better rule
        return replace(fc.last_value(curve, utc, until), substituted_from=curve.substituted_from, note=curve.note)

    def _pv(self, utc: float, until: float) -> Curve:
        if self.tags.pv is None:
            return fc.constant(0.0, utc, until, "no PV")
        curve = self._curve(self.tags.pv, "kW", utc)
        if curve is not None:
            return fc.last_value(curve, utc, until)
        return fc.clear_sky_p30(self.past[self.tags.pv].history(), utc, until, self.spec.lat, self.spec.lon)


def _kept(profile: Profile, unit: str, now: float, until: float) -> Curve:
    """What a feed said when it last did, in `unit`, as a substitute from `now` on: its values, then the last of them.

    Raises ValueError for a profile without steps.
    """
    steps = tuple((utc, Quantity(value, profile.unit).to(unit)) for utc, value in profile.steps)
    note = f"{profile.tag} is too old, what was known is kept"
    return Curve(steps, max(until, steps[-1][0] + 1.0) if steps else until, profile.issuer, now, note)


def _asks_more(orders: Sequence[Order], before: Sequence[Order]) -> bool:
    """True when an order is new, is due at another time or has grown; what was delivered since is no news."""
    known = {order.id: order for order in before}
    return any(
        (old := known.get(order.id)) is None or order.due != old.due or order.mass > old.mass + GROWN_T
        for order in orders
    )


def _month(utc: float, tz: str) -> tuple[int, int]:
    local = datetime.fromtimestamp(utc, ZoneInfo(tz))
    return local.year, local.month
