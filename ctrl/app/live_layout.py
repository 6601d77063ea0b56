"""What of a site the live page shows: found in the configuration, so that nobody draws a screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ctrl.config.model import (
    AnyLoop,
    PeakLimiter,
    Pid,
    Point,
    PowerFollow,
    ProductionRules,
    RateControl,
    SelectSignal,
    SetpointProgram,
    Site,
    Staging,
    SumSignal,
    WindowAverageSignal,
)
from ctrl.hmi.live import Chart, ChartLine, DeviceInfo, Flow, Layout, LoopInfo, Pin

TYPES: Final = {
    "peak_limiter": "peak guard: forecast",
    "power_follow": "battery power",
    "pid": "PID",
    "setpoint_program": "setpoint program",
    "staging": "staging: capacity",
    "rate_control": "rate and run command",
    "production_rules": "rules: stock, rate",
}
_CONTRACTS: Final = {
    "heartbeat": "heartbeat",
    "block": "block of commands with sequence",
    "revert_timer": "timer that reverts",
    "none": "none: advisory only",
}
Limits = tuple[float, float] | None


def layout_of(site: Site, manifest: Mapping[str, Any], *, simulated: bool) -> Layout:
    """The layout of a site and its compiled manifest (ctrl.loops.compile)."""
    return {
        "site": site.site.name,
        "timezone": site.site.timezone,
        "currency": site.site.currency,
        "simulated": simulated,
        "flows": [flow for flow in flows(site) if flow["tag"] in manifest["slots"]],
        "loops": [_Faces(site, manifest).info(loop) for loop in manifest["loops"]],
        "charts": charts(site, frozenset(manifest["records"]["tags"])),
        "devices": [_device(name, site) for name in site.devices],
        "plans": list(site.plans),
    }


def _device(name: str, site: Site) -> DeviceInfo:
    device = site.devices[name]
    dead, kind = device.contract.dead_after, _CONTRACTS[device.contract.kind]
    contract = kind if dead is None else f"{kind}, dead after {dead.to('s'):g} s"
    return {"name": name, "type": device.type, "address": f"{device.host}:{device.port}", "contract": contract}


# --------------------------------------------------------------------------------------------------------------- power
def grid_meter(site: Site) -> str | None:
    """Tag of the power at the grid connection: what the demand charge or the peak guard is measured by."""
    for plan in site.plans.values():
        charge = plan.prices.demand_charge
        measured = site.signals.get(charge.measured) if charge is not None else None
        if isinstance(measured, WindowAverageSignal):
            return measured.window_average
    guard = next((loop for loop in site.loops.values() if isinstance(loop, PeakLimiter)), None)
    return guard.meter if guard is not None else None


def battery_loop(site: Site) -> tuple[str, PowerFollow] | None:
    """Name and loop of the battery: the one a plan moves, else the first."""
    planned = [plan.assets.battery.loop for plan in site.plans.values() if plan.assets.battery is not None]
    for name in (*planned, *site.loops):
        loop = site.loops.get(name)
        if isinstance(loop, PowerFollow):
            return name, loop
    return None


def flows(site: Site) -> list[Flow]:
    """Boxes of the energy picture.

    The base load of a plan is a sum: what delivers, less what is metered by itself. So its parts are the boxes, and
    they balance. A site without such a sum shows grid, battery, PV and every measured power.
    """
    grid, battery = grid_meter(site), battery_loop(site)
    found: list[Flow] = []
    if grid is not None:
        found.append({"name": "grid", "label": "Grid", "kind": "grid", "tag": grid})
    taken = {grid, battery[1].measure if battery is not None else None}
    base = next((plan.forecasts.base_load.from_ for plan in site.plans.values()), None)
    signal = site.signals.get(base) if base is not None else None
    if base is not None and isinstance(signal, SumSignal):
        parts = [(part.ref, part.negative) for part in signal.sum if part.ref is not None]
        sources = [ref for ref, negative in parts if not negative and ref not in taken]
        loads = [ref for ref, negative in parts if negative]
    else:
        measured = [tag for tag in _powers(site) if tag not in taken]
        sources = [tag for tag in measured if tag.endswith(".pv_power")]
        loads = [tag for tag in measured if tag not in sources]
    found += [{"name": tag, "label": _label(tag), "kind": "pv", "tag": tag} for tag in sources]
    if battery is not None:
        tag, soc = battery[1].measure, battery[1].soc.measure
        found.append({"name": "battery", "label": "Battery", "kind": "battery", "tag": tag, "soc": soc})
    found += [{"name": tag, "label": _label(tag), "kind": "load", "tag": tag} for tag in loads]
    if base is not None:
        found.append({"name": "base", "label": "Base load", "kind": "load", "tag": base})
    return found


def _powers(site: Site) -> Iterator[str]:
    for device, spec in site.devices.items():
        yield from (f"{device}.{name}" for name, point in spec.points.items() if point.unit == "kW" and not point.write)


def _label(tag: str) -> str:
    """ "plc_furnace.power" is the furnace, "plc_energy.pv_power" the PV."""
    device, _, point = tag.partition(".")
    name = device.removeprefix("plc_") if point in ("", "power") else point.removesuffix("_power")
    return "PV" if name == "pv" else name.replace("_", " ").capitalize()


def line_rate(site: Site) -> str | None:
    """Tag of the measured rate of the line: what a stock is carried on with; else the command."""
    for loop in site.loops.values():
        if isinstance(loop, ProductionRules) and loop.when_stock_stale is not None:
            return loop.when_stock_stale.integrate
    return next((loop.output for loop in site.loops.values() if isinstance(loop, RateControl)), None)


# -------------------------------------------------------------------------------------------------------------- charts
def charts(site: Site, recorded: frozenset[str]) -> list[Chart]:
    """Battery, line and grid as planned and as they are; only recorded tags can be drawn."""
    plan = next(iter(site.plans), None)
    battery, rate, grid = battery_loop(site), line_rate(site), grid_meter(site)
    found: list[Chart] = []
    if battery is not None:
        found.append(_chart("battery", "Battery", plan, "bat_power", battery[1].measure))
    if rate is not None:
        found.append(_chart("rate", "Line rate", plan, "rate", rate))
    if grid is not None:
        chart = _chart("grid", "Grid", plan, "grid", grid)
        chart["lines"] += _grid_lines(site, plan)
        found.append(chart)
    for chart in found:
        lines = [_recorded(line, recorded) for line in chart["lines"]]
        chart["lines"] = [line for line in lines if "tag" in line or "plan" in line]
    return [chart for chart in found if chart["lines"]]


def _chart(name: str, label: str, plan: str | None, key: str, actual: str) -> Chart:
    lines: list[ChartLine] = []
    if plan is not None:
        lines.append({"label": "plan", "kind": "planned", "plan": key, "tag": f"{plan}.{key}"})
    lines.append({"label": "actual", "kind": "actual", "tag": actual})
    return {"name": name, "label": label, "unit": "t/h" if key == "rate" else "kW", "lines": lines}


def _grid_lines(site: Site, plan: str | None) -> list[ChartLine]:
    lines: list[ChartLine] = []
    charge = site.plans[plan].prices.demand_charge if plan is not None else None
    window = site.signals.get(charge.measured) if charge is not None else None
    if charge is not None and isinstance(window, WindowAverageSignal):
        label = f"{window.over.to('min'):g}-min average"
        lines.append({"label": label, "kind": "average", "tag": charge.measured})
    guard = next((name for name, loop in site.loops.items() if isinstance(loop, PeakLimiter)), None)
    if guard is not None:
        limit: ChartLine = {"label": "peak limit", "kind": "limit", "tag": f"{guard}.limit"}
        lines.append(limit if plan is None else {**limit, "plan": "peak_target"})
    return lines


def _recorded(line: ChartLine, recorded: frozenset[str]) -> ChartLine:
    """The line without a tag that no record holds."""
    if "tag" not in line or line["tag"] in recorded:
        return line
    bare: ChartLine = {"label": line["label"], "kind": line["kind"]}
    if "plan" in line:
        bare["plan"] = line["plan"]
    return bare


# --------------------------------------------------------------------------------------------------------------- loops
class _Faces:
    """Pins of the loops with their units and the ranges of their bars."""

    def __init__(self, site: Site, manifest: Mapping[str, Any]) -> None:
        self.site, self.manifest = site, manifest

    def info(self, entry: Mapping[str, Any]) -> LoopInfo:
        """One loop of the manifest."""
        name, face = entry["name"], entry["face"]
        loop = self.site.loops[name]
        if isinstance(loop, RateControl):
            face = {**face, "pv": line_rate(self.site) or loop.output}
        pv, sp, op = self._ranges(name, loop)
        words = TYPES[entry["type"]]
        return {
            "name": name,
            "tag": entry["tag"] or "",
            "text": f"{name}: {words}" if entry["tag"] else words,
            "pv": self._pin(face.get("pv"), pv),
            "sp": self._pin(face.get("sp"), sp),
            "op": self._pin(face.get("op"), op),
            "mode": face.get("mode"),
            "reason": face.get("why"),
        }

    def _pin(self, tag: str | None, limits: Limits) -> Pin | None:
        if tag is None or tag not in self.manifest["slots"]:
            return None
        low, high = limits or (None, None)
        unit: str = self.manifest["units"][tag]
        pin: Pin = {"tag": tag, "unit": "" if unit in ("1", "bool") else unit, "low": low, "high": high}
        words = {"0": "off", "1": "on"} if unit == "bool" else self.manifest["words"].get(tag)
        if words:
            pin["words"] = words
        return pin

    def _ranges(self, name: str, loop: AnyLoop) -> tuple[Limits, Limits, Limits]:
        """(PV, SP, OP) in the units of their tags; None where a bar would mean nothing."""
        if isinstance(loop, Pid):
            unit, out = self.manifest["units"][loop.measure], self.manifest["units"][f"{name}.out"]
            limits = loop.setpoint.limits
            pv = self._range(loop.measure) if limits is None else limits.to(unit)
            return pv, pv, (loop.out_low.to(out), loop.out_high.to(out))
        if isinstance(loop, SetpointProgram):
            pv = self._range(loop.measure)
            return pv, pv, None
        if isinstance(loop, PowerFollow | RateControl):
            both = self._range(loop.output)
            return both, both, both
        if isinstance(loop, Staging):
            unit = loop.demand_unit
            most = loop.trim.capacity.to(unit) + sum(each.capacity.to(unit) for each in loop.units.values())
            return (0.0, most), (0.0, most), (0.0, 100.0)
        if isinstance(loop, PeakLimiter):
            high = 1.5 * loop.limit_fallback.to("kW")
            battery = battery_loop(self.site)
            return (0.0, high), (0.0, high), self._range(battery[1].output) if battery is not None else None
        return (0.0, self._most_stock(loop)), None, None

    def _most_stock(self, loop: ProductionRules) -> float:
        made = [plan.production for plan in self.site.plans.values() if plan.production is not None]
        most = [part.stock_limits.hi.to("t") for part in made if part.stock == loop.stock]
        return most[0] if most else 1.5 * loop.fill_to.to("t")

    def _range(self, tag: str) -> Limits:
        """Range of what is behind a tag: limits of a command, valid range of a measurement."""
        signal = self.site.signals.get(tag)
        if isinstance(signal, SelectSignal):
            return self._range(signal.of[0])
        if isinstance(signal, WindowAverageSignal):
            return self._range(signal.window_average)
        device, _, name = tag.partition(".")
        point: Point | None = self.site.devices[device].points.get(name) if device in self.site.devices else None
        found = (point.limits or point.valid) if point is not None else None
        return None if point is None or found is None else found.to(point.unit)
