"""Signals computed on site: the first key says what kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ctrl.config.model_base import Part
from ctrl.config.quantity import AnyQuantity, Duration, Expr, OperandField, Period, Ref, UnitText, whole


class SelectSignal(Part):
    """Choice among measurements of the same thing."""

    select: Literal["first_good", "median", "min", "max", "mean"]
    of: Annotated[tuple[Ref, ...], Field(min_length=2, max_length=8)]
    max_difference: AnyQuantity | None = None
    """The signal is uncertain and its pin `disagree` true when the good ones differ by more; a difference (K, bar)."""
    min_good: Annotated[int, whole(1, 8)] = 1
    filter: Duration | None = None
    """Time constant of a first-order filter."""


class WindowAverageSignal(Part):
    """Mean over the billing window, so far and in the last complete one."""

    window_average: Ref
    over: Period
    sync: Ref | None = None
    """Point that tells the time left in the window."""


class SumSignal(Part):
    """Sum of tags and fixed values; a leading minus subtracts."""

    sum: Annotated[tuple[OperandField, ...], Field(min_length=1, max_length=16)]
    filter: Duration | None = None


class RatioSignal(Part):
    """First over second, only while a condition holds."""

    ratio: tuple[Ref, Ref]
    unit: UnitText
    only_if: Expr | None = None
    filter: Duration | None = None


SIGNAL_KEYS = ("select", "window_average", "sum", "ratio")


def signal_kind(value: Any) -> str | None:
    """The key that says which signal this is."""
    if isinstance(value, dict):
        return next((key for key in SIGNAL_KEYS if key in value), None)
    return next((key for key in SIGNAL_KEYS if hasattr(value, key)), None)


Signal = Annotated[
    Annotated[SelectSignal, Tag("select")]
    | Annotated[WindowAverageSignal, Tag("window_average")]
    | Annotated[SumSignal, Tag("sum")]
    | Annotated[RatioSignal, Tag("ratio")],
    Discriminator(
        signal_kind,
        custom_error_type="E203",
        custom_error_message="a signal begins with one of: select, window_average, sum, ratio",
    ),
]
