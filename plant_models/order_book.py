"""Model "order_book": finished goods, firm orders and the sales forecast of a seeded customer base.

There is no free real series of orders, so they are drawn: on every workday (Monday to Friday) a total of N(18, 4) t,
cut to 6 .. 30 t, in 2 to 4 orders that are due at 10:00, 12:00, 14:00 or 18:00 local time and are announced 1 to 6 days
before. The draw of a day depends on the seed and the date alone. The sales forecast is the day's total with a seeded
error of 8 % that grows by 2 % a day of lead, made anew every day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from plant_models.base import Context, Feed, Option, PlantError, PlantModel
from plant_models.draws import Draws

DAY_S: Final = 86_400.0
HORIZON_DAYS: Final = 14
DUE_HOURS: Final = (10, 12, 14, 18)


@dataclass(frozen=True, slots=True)
class Order:
    """A firm order. announced, due: utc s; quantity: t."""

    no: str
    announced: float
    due: float
    quantity: float


def orders_of_day(context: Context, midnight: float, per_day: float) -> list[Order]:
    """Orders due on the local day that starts at `midnight` (utc s). per_day: t, mean of a workday."""
    date = context.local(midnight).date()
    if date.weekday() >= 5:
        return []
    draw = Draws(context.seed, "orders", date.toordinal())
    total = per_day * min(30.0, max(6.0, 18.0 + 4.0 * draw.normal(0))) / 18.0
    n = 2 + min(2, int(3.0 * (1.0 - draw.uniform(10))))
    shares = [0.5 + draw.uniform(20 + k) for k in range(n)]
    first = min(len(DUE_HOURS) - n, int((len(DUE_HOURS) - n + 1) * (1.0 - draw.uniform(11))))
    orders = []
    for k, share in enumerate(shares):
        # clock time of the day, right on the nights when the clock changes (they change before 10:00)
        due = context.midnight(midnight, days=1) - (24 - DUE_HOURS[first + k]) * 3600.0
        lead = 1.0 + 5.0 * draw.uniform(30 + k)
        quantity = round(total * share / sum(shares), 2)
        orders.append(Order(f"{date:%y%m%d}-{k + 1}", due - lead * DAY_S, due, quantity))
    return orders


class OrderBook(PlantModel):
    """Finished goods and firm orders: stock and lateness react to what the line makes."""

    name = "order_book"
    kind = "order_book"
    doc = "Order book and finished-goods store of an ERP system"
    inputs: ClassVar[Mapping[str, str]] = {"produced": "t/h"}
    outputs: ClassVar[Mapping[str, str]] = {
        "stock": "t", "sales_rate": "t/d", "late": "t", "shipped": "t", "late_th": "t*h",
    }  # fmt: skip
    options: ClassVar[Mapping[str, Option]] = {
        "opening_stock": Option("t", "finished goods at the start", 20.0),
        "workday": Option("t", "mean of the orders due on a workday", 18.0),
    }

    def orders(self, options: Mapping[str, object], context: Context) -> list[Order]:
        """Every order due after the start of the run and up to 21 days after its end, in order of due time."""
        per_day = self.number(options, "workday")
        if per_day < 0.0:
            raise PlantError(f"{self.name}: workday must not be negative")
        found: list[Order] = []
        for k in range(int(context.days) + 22):
            found += orders_of_day(context, context.midnight(context.start_utc, days=k), per_day)
        return [o for o in found if o.due > context.start_utc]

    def params(self, options: Mapping[str, object], context: Context) -> list[float]:
        """See PlantModel.params."""
        pairs = [x for order in self.orders(options, context) for x in (order.due, order.quantity)]
        return self.fill({"opening": self.number(options, "opening_stock")}, tuple(pairs))

    def feeds(self, options: Mapping[str, object], context: Context) -> Mapping[str, Feed]:
        """/orders/open, /sales/forecast and /stock/finished. See PlantModel.feeds."""
        book = self.orders(options, context)
        per_day = self.number(options, "workday")

        def open_orders(utc: float, outputs: Mapping[str, float]) -> dict[str, object]:
            rows, left = [], outputs["shipped"]
            for order in book:
                part = min(left, order.quantity)
                left -= part
                if order.announced <= utc and order.quantity - part > 1e-6:
                    quantity = round(order.quantity - part, 3)
                    rows.append({"no": order.no, "due_at": context.iso(order.due), "qty_t": quantity})
            return {"data": rows}

        def sales(utc: float, outputs: Mapping[str, float]) -> dict[str, object]:
            del outputs
            today = context.midnight(utc)
            error = Draws(context.seed, "sales", context.local(utc).toordinal())
            rows = []
            for k in range(HORIZON_DAYS):
                day = context.midnight(today, days=k)
                total = sum(o.quantity for o in orders_of_day(context, day, per_day))
                factor = max(0.0, 1.0 + (0.08 + 0.02 * k) * error.normal(k))
                rows.append({"start": context.iso(day), "tonnes_per_day": round(total * factor, 2)})
            return {"data": rows}

        def stock(utc: float, outputs: Mapping[str, float]) -> dict[str, object]:
            return {"t": round(outputs["stock"], 3), "time": context.iso(utc)}

        return {"/orders/open": open_orders, "/sales/forecast": sales, "/stock/finished": stock}


MODEL = OrderBook()
