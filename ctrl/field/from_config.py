"""Devices of a site file as the field layer takes them. Used by the loader only, never by the control process."""

from __future__ import annotations

from typing import Literal

from ctrl.config.model import Contract, Device, Point, Site
from ctrl.field.spec import ContractSpec, DeviceSpec, PointSpec, WordOrder
from ctrl.units import Quantity

RAW = "~raw"
_ORDERS: dict[str, WordOrder] = {"big": "ABCD", "little": "CDAB"}


def devices_from_config(site: Site) -> tuple[DeviceSpec, ...]:
    """One DeviceSpec for each device of the site. A measurement is posted to `device.point~raw`."""
    return tuple(_device(site, name, device) for name, device in site.devices.items())


def _device(site: Site, name: str, device: Device) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        host=device.host,
        port=device.port,
        unit_id=device.device_id,
        timeout_s=device.timeout.to("s"),
        task=device.task,
        period_s=site.tasks[device.task].every.to("s"),
        contract=_contract(device.contract),
        points=tuple(_point(name, key, p, _ORDERS[device.word_order]) for key, p in device.points.items()),
        owner=f"loopwright {site.config_hash[:12]}",
    )


def _contract(contract: Contract) -> ContractSpec:
    return ContractSpec(
        kind=contract.kind,
        write=(contract.write.table, contract.write.offset) if contract.write is not None else None,
        echo=(contract.echo.table, contract.echo.offset) if contract.echo is not None else None,
        dead_after_s=contract.dead_after.to("s") if contract.dead_after is not None else None,
    )


def _point(device: str, name: str, point: Point, order: WordOrder) -> PointSpec:
    tag = f"{device}.{name}"
    lo, hi = point.limits.to(point.unit) if point.limits is not None else (None, None)
    return PointSpec(
        name=name,
        tag=tag if point.write else tag + RAW,
        table=point.at.table,
        offset=point.at.offset,
        type=point.type,
        unit="" if point.type == "bool" else point.unit,
        word_order=order,
        scale=point.scale,
        offset_value=point.offset,
        enum=tuple((point.enum or {}).items()),
        counter=point.counter,
        write=point.write,
        lo=lo,
        hi=hi,
        rate=point.rate.to(f"{point.unit}/s") if point.rate is not None else None,
        expires_after_s=point.expires_after.to("s") if point.expires_after is not None else None,
        refresh_s=point.refresh.to("s") if point.refresh is not None else None,
        fallback=_fallback(point),
        max_writes_per_day=point.max_writes_per_day,
        deadband=1e-4 * (hi - lo) if hi is not None and lo is not None and point.type in ("f32", "f64") else 0.0,
    )


def _fallback(point: Point) -> Literal["hold", "release"] | float:
    if isinstance(point.fallback, Quantity):
        return point.fallback.to(point.unit)
    if isinstance(point.fallback, bool):
        return float(point.fallback)
    return "hold"
