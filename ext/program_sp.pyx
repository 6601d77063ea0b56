"""Setpoint program: a discrete command chooses the target; production is released after a proven soak."""

from libc.math cimport fabs

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    MEASURE, FEEDBACK, FOLLOW            # FOLLOW is the first of the ranked commands

cdef enum:
    OUT, RELEASED, STATE, WHY, MODE

cdef enum:
    HOLDING, RUNNING, WITHIN, SOAK_FOR

cdef enum:
    S_EVER, S_RUNNING, S_RELEASED, S_IN, S_SOAK, S_AWAY, S_LOST, S_USED, S_FOUND


cdef int _chosen(Block* b, Scan* s) noexcept nogil:
    cdef int i
    for i in range(FOLLOW, b.n_in):
        if ok(b, s, i):
            return i
    return -1


cdef void _find(Block* b, Scan* s, bint inside) noexcept nogil:
    # once, as soon as both are known: a line that already runs at its temperature has proven its soak before this start
    if b.st[S_FOUND] != 0.0 or not (ok(b, s, MEASURE) and ok(b, s, FEEDBACK)):
        return
    b.st[S_FOUND] = 1.0
    if inside and val(b, s, FEEDBACK) > 0.5:
        b.st[S_RELEASED] = 1.0


cdef void _soak(Block* b, Scan* s) noexcept nogil:
    # A clock counts the interval between two scans that both saw its condition. An unproven measurement is out of band.
    cdef bint proven = ok(b, s, MEASURE)
    cdef double d = fabs(val(b, s, MEASURE) - b.par[RUNNING]) if proven else 0.0
    cdef bint inside = proven and d <= b.par[WITHIN], away = not proven or d > 3.0 * b.par[WITHIN]
    if b.st[S_RUNNING] == 0.0:
        b.st[S_RELEASED] = 0.0
        inside = False
        away = False
    _find(b, s, inside)
    if s.fresh:
        b.st[S_IN] = 0.0
        b.st[S_AWAY] = 0.0
    b.st[S_SOAK] = b.st[S_SOAK] + s.dt if inside and b.st[S_IN] != 0.0 else 0.0
    b.st[S_LOST] = b.st[S_LOST] + s.dt if away and b.st[S_AWAY] != 0.0 else 0.0
    b.st[S_IN] = 1.0 if inside else 0.0
    b.st[S_AWAY] = 1.0 if away else 0.0
    if inside and b.st[S_SOAK] >= b.par[SOAK_FOR]:
        b.st[S_RELEASED] = 1.0
    elif away and b.st[S_LOST] > b.par[SOAK_FOR]:
        b.st[S_RELEASED] = 0.0


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef int used = _chosen(b, s), why = WHY_NORMAL, mode = MODE_CASCADE
    cdef uint8_t q, q_released
    b.st[S_USED] = used
    if used >= 0:
        b.st[S_RUNNING] = 1.0 if val(b, s, used) > 0.5 else 0.0
        b.st[S_EVER] = 1.0
        q = worst(stat(b, s, used), Q_GOOD)
    else:
        mode, why = MODE_AUTO, WHY_SETPOINT_BAD
        q = <uint8_t>(Q_UNC_LAST if b.st[S_EVER] != 0.0 else Q_UNC_INITIAL)
        if b.st[S_EVER] == 0.0 and ok(b, s, FEEDBACK):
            b.st[S_RUNNING] = 1.0 if val(b, s, FEEDBACK) > 0.5 else 0.0
    _soak(b, s)
    q_released = q
    if b.st[S_RUNNING] != 0.0 and stat(b, s, MEASURE) < Q_GOOD:
        q_released = worst(q, stat(b, s, MEASURE) if ok(b, s, MEASURE) else <uint8_t>Q_UNC_LAST)
    if why == WHY_NORMAL:
        if not_invited(b, s, OUT):
            why = WHY_DOWNSTREAM
        elif b.st[S_RUNNING] != 0.0 and not ok(b, s, MEASURE):
            why = WHY_MEASURE_BAD
        elif b.st[S_RUNNING] != 0.0 and b.st[S_RELEASED] == 0.0:
            why = WHY_SOAKING
    put(b, s, OUT, b.par[RUNNING] if b.st[S_RUNNING] != 0.0 else b.par[HOLDING], q)
    put(b, s, RELEASED, b.st[S_RELEASED], q_released)
    put(b, s, STATE, b.st[S_RUNNING], q)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, MODE, mode, Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    cdef int i
    cdef uint8_t q
    for i in range(FOLLOW, b.n_in):
        if i == <int>b.st[S_USED]:
            q = QC_NOT_INVITED if not_invited(b, s, OUT) else QC_OK
        else:
            q = QC_NOT_SELECTED
        answer(b, s, i, b.st[S_RUNNING], q)
    return 0


register(Kind(
    "setpoint_program",
    inputs=("measure", "running?"), var_input="follow",
    outputs=("out", "released", "state", "why", "mode"),
    params=(("holding", None), ("running", None), ("soak_within", None), ("soak_for", 0.0)),
    state=("ever", "running", "released", "in_band", "soak", "away", "lost", "used", "found"),
    doc="""Target by state, with a guaranteed soak before release.

    follow: ranked commands; the first usable one decides, > 0.5 = running. None usable: the last state stays
    (uncertain); none ever: running while the plant says so by the pin running (1 = the line runs), else holding. out = running or holding, in the unit of measure; state = 1 running, 0 holding.
    released = 1 when in state running |measure - running| <= soak_within held for soak_for s without a break; a plant
    that starts hot is timed from its first scan. Only at the start, when measure and running are first both usable: a
    line that runs inside the band is released at once, so that starting the controller does not stop it. It goes when the state leaves running, or when the measure is more
    than 3 soak_within away (or bad) for longer than soak_for. Answers the command it follows with the state.

    Source: guaranteed soak (holdback) of ramp/soak programmers, as in AMS 2750 furnace practice.""",
), _step, _back)
