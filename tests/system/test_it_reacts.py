"""The point of the engine: when prices and orders change, the registers on the wire change, plan or no plan."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.system.live import LiveSite, live_site

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

SPEED = 30.0
PLAN_PERIOD_S = 900.0
GRACE_S = 60.0  # an expired offer may be followed for so long: plans.energy_plan.run.finish_in
MARKET, ORDERS = "/market/DE-LU", "/erp/orders/open"
BELT, BATTERY = ("plc_furnace", "hr", 12), ("plc_energy", "hr", 10)


def belt(site: LiveSite) -> float:
    """t/h last written to the belt."""
    write = site.taps[BELT[0]].last(*BELT[1:])
    return write.f32() if write is not None else float("nan")


def battery(site: LiveSite) -> float:
    """kW last written to the battery, + = discharge."""
    write = site.taps[BATTERY[0]].last(*BATTERY[1:])
    return 0.1 * write.i16() if write is not None else float("nan")


def invert_prices(site: LiveSite) -> None:
    """Every price is mirrored at the median: what was cheap is dear."""
    original = site.plant.bodies[MARKET]

    def mirrored(utc: float) -> Any:
        body = original(utc)
        middle = statistics.median(row["eur_per_mwh"] for row in body["data"])
        rows = [{**row, "eur_per_mwh": round(2 * middle - row["eur_per_mwh"], 2)} for row in body["data"]]
        return {**body, "data": rows}

    site.plant.bodies[MARKET] = mirrored


def double_orders(site: LiveSite) -> None:
    """Every open order becomes twice as large, and there is one more that is due this morning."""
    original = site.plant.bodies[ORDERS]

    def doubled(utc: float) -> Any:
        body = original(utc)
        return {**body, "data": [{**row, "qty_t": round(2 * row["qty_t"], 3)} for row in body["data"]]}

    site.plant.bodies[ORDERS] = doubled


def test_registers_follow_prices_and_orders_within_one_plan_period(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_site(tmp_path, SPEED) as site:
            # the first plan is in force: night, cheap energy, the battery charges
            await site.until("the battery charges", lambda: battery(site) < -20.0)
            await asyncio.sleep(120.0 / SPEED)
            belt_before, battery_before = belt(site), battery(site)
            assert belt_before < 1.05, "the line must run below its fastest rate, or orders could not speed it up"
            invert_prices(site)
            double_orders(site)
            changed_at = site.plant.elapsed_s

            def moved() -> bool:
                return belt(site) > belt_before + 0.05 and battery(site) > battery_before + 20.0

            await site.until("battery and belt registers move", moved, wall_s=(PLAN_PERIOD_S + 300.0) / SPEED + 20.0)
            took = site.plant.elapsed_s - changed_at
            # the feeds are asked every 5 and 15 minutes; a plan follows within a minute of the news
            assert took <= PLAN_PERIOD_S + 120.0

    asyncio.run(run())


def test_local_rules_follow_price_and_stock_with_the_site_process_gone(tmp_path: Path) -> None:
    """Morning: 07:35 at a middling price, from 08:00 on dear. The stock is low. The plan expires, nobody renews it."""
    edits = {
        "start: 2018-03-05T00:00": "start: 2018-03-05T07:35",
        "plan_valid_for: 45 min": "plan_valid_for: 16 min",
        "opening_stock: 20 t": "opening_stock: 3 t",
    }

    async def run() -> None:
        async with live_site(tmp_path, SPEED, edits) as site:

            async def planned() -> bool:
                status = await site.status()
                return status is not None and {"energy_plan.rate", "erp.stock"} <= set(status["profiles"])

            await site.until("control has a plan", planned)
            os.kill(site.child("site"), signal.SIGSTOP)  # gone, and the supervisor does not bring it back
            before = await site.status()
            assert before is not None
            expired = before["profiles"]["energy_plan.rate"]["valid_until"] + GRACE_S
            await site.until("the plan is over", lambda: site.plant.clock.utc() > expired)
            # one rung down: local rules, at the rate of a stock below the reorder point; at a middling price the
            # battery gives what the peak guard asks, no more
            await site.until("the belt follows the rules", lambda: abs(belt(site) - 0.95) < 0.01)
            assert site.plant.elapsed_s < 25 * 60.0, "before 08:00, or the price has changed already"
            asked = battery(site)
            await site.until("the battery answers the price of 08:00", lambda: battery(site) > asked + 80.0)
            assert site.plant.elapsed_s > 25 * 60.0 - 5.0
            after = await site.status()
            assert after is not None
            assert after["missed"] == before["missed"]
            os.kill(site.child("site"), signal.SIGCONT)

    asyncio.run(run())
