"""Rate control of a production line: ramped rate, run command, permissions."""

from libc.math cimport fabs

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    SP, CATCH_UP, ALLOW                  # ALLOW is the first of the conditions

cdef enum:
    OUT, RUN, MODE, WHY, WORKING

cdef enum:
    RAMP, LO, HI, RUN_MIN, ALLOW_HOLD

cdef enum:
    S_STARTED, S_U, S_RUN, S_SP, S_SP_SEEN, S_WORKING, S_TRACKING, S_ALLOWED, S_TARGET, S_ALLOW_BAD

cdef double CATCH_UP_MAX = 0.1           # of the setpoint, either way


cdef bint _allowed(Block* b, Scan* s) noexcept nogil:
    # a condition that cannot be read keeps the line as it is for a while: one lost answer must not stop it
    cdef int i
    cdef bint unread = False
    for i in range(ALLOW, b.n_in):
        if wired(b, i):
            if not ok(b, s, i):
                unread = True
            elif not val(b, s, i) > 0.5:
                b.st[S_ALLOW_BAD] = 0.0
                return False
    b.st[S_ALLOW_BAD] = b.st[S_ALLOW_BAD] + s.dt if unread else 0.0
    return not unread or (b.st[S_ALLOWED] != 0.0 and b.st[S_ALLOW_BAD] <= b.par[ALLOW_HOLD])


cdef uint8_t _setpoint(Block* b, Scan* s) noexcept nogil:
    # working setpoint and its status
    cdef uint8_t q = Q_UNC_LAST if b.st[S_SP_SEEN] != 0.0 else Q_BAD
    cdef double extra = 0.0, most
    if ok(b, s, SP):
        b.st[S_SP] = val(b, s, SP)
        b.st[S_SP_SEEN] = 1.0
        q = stat(b, s, SP)
    if ok(b, s, CATCH_UP):
        most = CATCH_UP_MAX * fabs(b.st[S_SP])
        extra = clamp(val(b, s, CATCH_UP), -most, most)
    b.st[S_WORKING] = clamp(b.st[S_SP] + extra, b.par[LO], b.par[HI])
    return q


cdef void _follow(Block* b, Scan* s) noexcept nogil:
    cdef double target = b.par[LO], step = b.par[RAMP] * s.dt, d
    if b.st[S_SP] <= 0.5 * b.par[RUN_MIN]:
        b.st[S_RUN] = 0.0
    else:
        b.st[S_RUN] = b.st[S_ALLOWED]
    if b.st[S_RUN] != 0.0:
        target = clamp(b.st[S_WORKING], clamp(b.par[RUN_MIN], b.par[LO], b.par[HI]), b.par[HI])
    b.st[S_TARGET] = target
    d = target - b.st[S_U]
    b.st[S_U] = target if b.par[RAMP] <= 0.0 or fabs(d) <= step else b.st[S_U] + (step if d > 0.0 else -step)


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef bint first = b.st[S_STARTED] == 0.0, away = not_invited(b, s, OUT) or not_invited(b, s, RUN)
    cdef int why = WHY_NORMAL, mode = MODE_AUTO
    cdef uint8_t q_sp = _setpoint(b, s), q = Q_GOOD
    b.st[S_ALLOWED] = 1.0 if _allowed(b, s) else 0.0
    b.st[S_STARTED] = 1.0
    if first:
        b.st[S_U] = b.par[LO]
    if answered(b, s, OUT) and (away or first or s.fresh or b.st[S_TRACKING] != 0.0):
        b.st[S_U] = clamp(s.bv[b.out[OUT]], b.par[LO], b.par[HI])
    if answered(b, s, RUN) and (away or first or s.fresh or b.st[S_TRACKING] != 0.0):
        b.st[S_RUN] = 1.0 if s.bv[b.out[RUN]] > 0.5 else 0.0
    b.st[S_TARGET] = b.st[S_U]
    if away or (first and not answered(b, s, OUT)):
        # before anybody has answered there is no command yet: bad status makes the output block hold
        mode, why, q = MODE_INITIALISING, WHY_DOWNSTREAM, <uint8_t>(Q_UNC_INITIAL if answered(b, s, OUT) else Q_BAD)
    elif b.st[S_SP_SEEN] == 0.0:
        mode, why, q = MODE_INITIALISING, WHY_SETPOINT_BAD, <uint8_t>Q_UNC_INITIAL
    b.st[S_TRACKING] = 1.0 if mode == MODE_INITIALISING else 0.0
    if mode != MODE_INITIALISING:
        _follow(b, s)
        mode = MODE_CASCADE if q_sp >= QC_OK else MODE_AUTO
        q = worst(q_sp, Q_GOOD)
        if b.st[S_ALLOWED] == 0.0:
            why = WHY_NOT_ALLOWED
        elif not ok(b, s, SP):
            why = WHY_SETPOINT_BAD
        elif b.st[S_U] != b.st[S_TARGET]:
            why = WHY_RAMPING
        elif b.st[S_RUN] != 0.0 and b.st[S_U] >= b.par[HI] and b.st[S_SP] > b.par[HI]:
            why = WHY_LIMIT_HIGH
    put(b, s, OUT, b.st[S_U], q)
    put(b, s, RUN, b.st[S_RUN], q)
    put(b, s, MODE, mode, Q_GOOD)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, WORKING, b.st[S_WORKING], q_sp)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    cdef double achieved = s.bv[b.out[OUT]] if answered(b, s, OUT) else b.st[S_U]
    cdef uint8_t bits = s.bq[b.out[OUT]] & 3 if answered(b, s, OUT) else 0
    if b.st[S_RUN] == 0.0:
        achieved = 0.0
    if b.st[S_TRACKING] != 0.0:
        answer(b, s, SP, achieved, QC_NOT_INVITED)
        answer(b, s, CATCH_UP, 0.0, QC_NOT_INVITED)
        return 0
    if b.st[S_ALLOWED] == 0.0 or b.st[S_U] < b.st[S_TARGET] or b.st[S_U] >= b.par[HI]:
        bits |= LIM_HIGH
    if b.st[S_U] > b.st[S_TARGET] or b.st[S_U] <= b.par[LO]:
        bits |= LIM_LOW
    answer(b, s, SP, achieved, <uint8_t>QC_OK | bits)
    answer(b, s, CATCH_UP, b.st[S_WORKING] - b.st[S_SP], QC_OK)
    return 0


register(Kind(
    "rate_control",
    inputs=("sp", "catch_up?"), var_input="allow",
    outputs=("out", "run", "mode", "why", "setpoint"),
    params=(("ramp", 0.0), ("lo", 0.0), ("hi", None), ("run_min", 0.0), ("allow_hold", 0.0)),
    state=("started", "u", "run", "sp", "sp_seen", "working", "tracking", "allowed", "target", "allow_bad"),
    doc="""Rate of a production line.

    setpoint = clamp(sp + clamp(catch_up, -10 %, +10 % of sp), lo, hi), all in the unit of sp, for instance t/h
    run = 1 when sp > run_min / 2 and every allow condition is usable and true, else 0; while one is bad and none is
    false the line stays allowed for allow_hold [s] if it was
    out goes to clamp(setpoint, run_min, hi) when running, to lo when stopped, at most ramp [unit/s] (0 = at once)

    sp bad: last setpoint, uncertain; none ever: initialising. Output or run command not taken: tracks both.
    Answers sp with the achieved rate (0 when stopped) and limit bits, catch_up with the part in use.

    Source: ISA-95 part 3 production dispatch; Hopp & Spearman, Factory Physics (rate with catch-up).""",
), _step, _back)
