"""Series block: a table of equally spaced values against UTC (profiles, fixed calendars, recorded test data)."""

from libc.math cimport floor

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    T0 = 0
    STEP
    HOLD
    REPEAT
    FIRST


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef int n = b.n_par - FIRST, i, after
    cdef double position, fraction, y
    if n < 1 or b.par[STEP] <= 0.0:
        put(b, s, 0, 0.0, Q_BAD_CONFIG)
        return 0
    position = (s.utc - b.par[T0]) / b.par[STEP]
    if b.par[REPEAT] > 0.5:
        position -= n * floor(position / n)
        if not (position >= 0.0 and position < n):        # rounding at the seam
            position = 0.0
    if not position >= 0.0:
        put(b, s, 0, b.par[FIRST], Q_BAD_NO_COMMS_LAST)
        return 0
    if position >= n:
        put(b, s, 0, b.par[FIRST + n - 1], Q_BAD_NO_COMMS_LAST)
        return 0
    i = <int>floor(position)
    y = b.par[FIRST + i]
    if b.par[HOLD] <= 0.5:
        fraction = position - i
        after = i + 1 if i + 1 < n else (0 if b.par[REPEAT] > 0.5 else i)
        y = (1.0 - fraction) * y + fraction * b.par[FIRST + after]
    put(b, s, 0, y, Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


def _words(n_in, n_par, params):
    if n_par <= FIRST:
        raise ValueError("series needs at least one value")
    if not params[STEP] > 0.0:
        raise ValueError(f"series: step {params[STEP]:g} s is not above 0")
    return 0


register(Kind(
    "series",
    outputs=("out",), params=(("t0", None), ("step", None), ("hold", 1.0), ("repeat", 0.0)), var_param="y",
    state_size=_words,
    doc="""out = table value at UTC: y[k] from t0 + k*step [s since 1970, s] on; y in the unit of out.

    hold 1: step-wise. hold 0: straight lines between the points; the last value is held for its step, or leads to y[0] with repeat.
    repeat 1: the table starts again after n*step, in both directions of time. Outside the table: 0x14 with the nearest value.
    Source: IEC 61970-301 RegularIntervalSchedule (curve styles constantYValue and straightLineYValues)."""),
    _step, _back)
