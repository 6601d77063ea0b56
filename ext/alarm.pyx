"""Alarm detection: when an alarm condition is active, and the trip it may latch. Its ISA-18.2 states live elsewhere."""

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    WHEN = 0
    UNLESS
    OFF
    RESET

cdef enum:
    ON_DELAY = 0
    OFF_DELAY
    LATCH_TRIP

cdef enum:
    A_STARTED = 0
    A_ACTIVE
    A_TIMING         # 1 while a delay runs
    A_TIME           # s it has run
    A_TRIP
    A_RESET          # `reset` in the last scan

cdef double NO_RESET = 1e308     # above every value: after an unreadable `reset` its next value is no edge


cdef inline bint _true(Block* b, Scan* s, int i) noexcept nogil:
    return ok(b, s, i) and val(b, s, i) > 0.5


cdef inline bint _elapsed(Block* b, Scan* s, bint running, double delay) noexcept nogil:
    # on-delay timer, IEC 61131-3 TON: 0 at the rising edge, due when it reaches the delay
    if not running:
        b.st[A_TIMING] = 0.0
        b.st[A_TIME] = 0.0
        return False
    b.st[A_TIME] = b.st[A_TIME] + s.dt if b.st[A_TIMING] != 0.0 else 0.0
    b.st[A_TIMING] = 1.0
    if b.st[A_TIME] < delay - 1e-9:
        return False
    b.st[A_TIMING] = 0.0
    b.st[A_TIME] = 0.0
    return True


cdef inline void _detect(Block* b, Scan* s, bint condition, bint suppressed) noexcept nogil:
    cdef bint clear
    if suppressed:
        b.st[A_ACTIVE] = 0.0
        _elapsed(b, s, False, 0.0)
    elif not ok(b, s, WHEN):
        return                               # nothing is known: keep the state, stop the clock
    elif b.st[A_ACTIVE] == 0.0:
        if _elapsed(b, s, condition, b.par[ON_DELAY]):
            b.st[A_ACTIVE] = 1.0
            if b.par[LATCH_TRIP] > 0.5:
                b.st[A_TRIP] = 1.0
    else:
        clear = not condition and (not wired(b, OFF) or _true(b, s, OFF))
        if _elapsed(b, s, clear, b.par[OFF_DELAY]):
            b.st[A_ACTIVE] = 0.0


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef bint suppressed = _true(b, s, UNLESS)
    cdef bint condition = _true(b, s, WHEN) and not suppressed
    cdef bint known = ok(b, s, RESET)
    cdef bint edge = b.st[A_STARTED] != 0.0 and known and val(b, s, RESET) > b.st[A_RESET] + 0.5
    cdef uint8_t q = worst(stat(b, s, WHEN), Q_GOOD) if ok(b, s, WHEN) else <uint8_t>Q_UNC_LAST
    b.st[A_STARTED] = 1.0
    b.st[A_RESET] = val(b, s, RESET) if known else NO_RESET
    _detect(b, s, condition, suppressed)
    if edge and b.st[A_ACTIVE] == 0.0 and not condition and (suppressed or ok(b, s, WHEN)):
        b.st[A_TRIP] = 0.0
    put(b, s, 0, b.st[A_ACTIVE], q)
    put(b, s, 1, b.st[A_TRIP] if b.par[LATCH_TRIP] > 0.5 else b.st[A_ACTIVE], q)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


register(Kind(
    "alarm",
    inputs=("when", "unless?", "off?", "reset?"), outputs=("active", "trip"),
    params=(("on_delay", 0.0), ("off_delay", 0.0), ("latch_trip", 0.0)),
    state=("started", "active", "timing", "time", "trip", "reset"),
    doc="""Alarm condition with delays. active = 1 after `when` has been true for on_delay [s] (on-delay timer: 0 s at the
    edge), until it has been false for off_delay [s]; with `off` wired, until `off` is true and `when` false for off_delay (hysteresis).

    `unless` true suppresses: inactive, timers reset; an unreadable `unless` does not suppress.
    `when` bad: never activates and never clears; state and timer are kept with 0x44.
    trip = active, or with latch_trip: set when active rises, cleared by a rising edge of `reset` (a bool, or a count of resets:
    any rise by more than 0.5) once the condition is known to be gone.
    Source: ANSI/ISA-18.2-2016 (on-delay, off-delay, suppression by design, latching); IEC 61131-3 TON, R_TRIG."""),
    _step, _back)
