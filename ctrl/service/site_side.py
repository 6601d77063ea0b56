"""The site side: polls of feeds and plans as dated jobs. It reads the image, sends profiles, and writes nothing else.

The site process runs it on the live scheduler, simulations on the virtual one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ctrl.clock import Clock, LiveClock
from ctrl.config.model import Site
from ctrl.messages import Event, Profile
from ctrl.planning.plan import Plan
from ctrl.planning.planner import Planner, Read
from ctrl.schedule import Cron, Delayed, Every, Schedule
from ctrl.signals.base import Order, Orders, Source
from ctrl.signals.poller import start_polls

OBSERVE_S = 60.0
AFTER_POLLS_S = 5.0  # a plan waits so long for the feeds that are polled at the same quarter hour
GRACE_S = 30.0  # of wall time: a poll or a look later than this has missed its date

Send = Callable[[Profile], None]
Tell = Callable[[Event], None]
Offload = Callable[[Callable[[], Plan]], Awaitable[Plan]]


class SiteSide:
    """Feeds and plans of one site.

    read: values of tags now. send: a profile for the control side. tell: an event for people. offload: where a plan is
    solved: a worker thread (live), or right here (virtual time).
    """

    def __init__(
        self,
        site: Site,
        schedule: Schedule,
        sources: Iterable[Source],
        clock: Clock,
        *,
        read: Read,
        send: Send,
        tell: Tell,
        offload: Offload,
        clock_limits: bool,
        plans: bool = True,
    ) -> None:
        self.site, self.schedule, self.clock = site, schedule, clock
        self.planners = {
            name: Planner(site, name, read, clock_limits=clock_limits) for name in (site.plans if plans else ())
        }
        self.plans: dict[str, Plan] = {}
        self.profiles: dict[str, Profile] = {}
        self.orders: dict[str, Order] = {}  # as first announced
        self.solve_s: list[float] = []
        self._send, self._tell, self._offload = send, tell, offload
        self._watch = LiveClock()  # how long a solve takes is a matter of this machine, in virtual time too
        self._solving = {name: asyncio.Lock() for name in self.planners}
        self._trouble: dict[str, str] = {}
        self._sources = tuple(sources)

    def start(self) -> None:
        """Add the jobs: polls at once and at their periods, observation once a minute, plans by their rules."""
        schedule = self.schedule
        grace = GRACE_S * max(1.0, self.clock.speed)

        def add(name: str, func: Callable[[], object], every_s: float) -> None:
            schedule.add(name, func, Every(every_s), misfire_grace_s=grace, at_start=True)

        start_polls(self._sources, self.clock, add, self.take, self._tell)
        for name, planner in self.planners.items():
            rule = Delayed(Cron(planner.config.run.cron, self.site.site.timezone), AFTER_POLLS_S)
            late = planner.config.run.finish_in.to("s")
            schedule.add(f"{name}.observe", self._observing(name), Every(OBSERVE_S), misfire_grace_s=grace)
            schedule.add(name, self._planning(name), rule, misfire_grace_s=late)

    def take(self, answer: Profile | Orders) -> None:
        """What a feed said: to the plans, and, when it is a tag, to the control side."""
        for planner in self.planners.values():
            planner.take(answer)
        if isinstance(answer, Orders):
            self.orders |= {order.id: order for order in answer.orders if order.id not in self.orders}
        if isinstance(answer, Profile):
            self.profiles[answer.tag] = answer
            self._send(answer)

    async def plan_now(self, name: str) -> Plan | None:
        """Make a plan and send its offers. None: it could not be made, and an event says why."""
        async with self._solving[name]:  # a solver works on one plan at a time
            return await self._plan(name, self.planners[name])

    async def _plan(self, name: str, planner: Planner) -> Plan | None:
        planner.observe(self.clock.utc())
        began = self._watch.wall_mono()
        try:
            task = planner.prepare(self.clock.utc())
        except ValueError as error:
            self._say(name, "PLAN_FAILED", str(error))
            return None
        plan, offers = planner.accept(await self._offload(lambda: planner.solve(task)))
        self.solve_s.append(self._watch.wall_mono() - began)
        self.plans[name] = plan
        event = {"optimal": "", "relaxed": "PLAN_RELAXED", "shifted": "PLAN_SHIFTED"}.get(plan.status, "PLAN_FAILED")
        self._say(name, event, plan.message)
        for offer in offers:
            self._send(offer)
        return plan

    def _say(self, name: str, event: str, text: str) -> None:
        """One event an episode: when the quality of the plans changes, not with every plan."""
        if event != self._trouble.get(name, ""):
            self._trouble[name] = event
            self._tell(Event(self.clock.utc(), name, event or "PLAN_GOOD", text[:1000], {}))

    def _observing(self, name: str) -> Callable[[], Awaitable[object]]:
        async def observe() -> None:
            planner = self.planners[name]
            planner.observe(self.clock.utc())
            # news that changes what is on or off does not wait for the next quarter hour, nor does a first plan
            if planner.has_news or name not in self.plans:
                await self.plan_now(name)

        return observe

    def _planning(self, name: str) -> Callable[[], Awaitable[object]]:
        return lambda: self.plan_now(name)


async def inline(work: Callable[[], Plan]) -> Plan:
    """`offload` of virtual time: at once, in this thread."""
    return work()
