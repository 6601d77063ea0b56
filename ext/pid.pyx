"""PID controller: ideal form, two degrees of freedom, external reset, statuses and backward path."""

from libc.math cimport exp

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    PV, SP, FF, LOW_PIN, HIGH_PIN, REQUIRES, TRIP, REDUCE

cdef enum:
    OUT, ERROR, MODE, WHY, WORKING, OUT_HIGH

cdef enum:
    KP, KI, KD, FILTER_N, B, C, PV_FILTER, REVERSE, LO, HI, HOLD_TIME, BAD_ACTION, BAD_OUTPUT, SAFE, UNCERTAIN_OK
    REQUIRES_HOLD

cdef enum:
    # state words, in the order of the registration below
    S_STARTED, S_ACTIVE, S_I, S_D, S_V, S_U, S_SP, S_SP_SEEN, S_Y, S_Y_SEEN, S_Y1, S_F1, S_F2, S_F_ON, S_FF
    S_BAD_FOR, S_KP, S_KD, S_B, S_TRIPPED, S_LO, S_HI, S_LIMIT, S_ERROR, S_REDUCED, S_BASE
    S_REQUIRED, S_REQUIRES_BAD


cdef bint _reduced(Block* b, Scan* s) noexcept nogil:
    # is a reduction in force? It is counted from the output at its start: less than now, wherever the limit is
    if not (ok(b, s, REDUCE) and val(b, s, REDUCE) > 0.0):
        b.st[S_REDUCED] = 0.0
    elif b.st[S_REDUCED] == 0.0 and (b.st[S_STARTED] != 0.0 or answered(b, s, OUT)):
        b.st[S_REDUCED] = 1.0
        # without the feedforward: a load that comes or goes meanwhile is no part of what is asked for
        b.st[S_BASE] = (s.bv[b.out[OUT]] if answered(b, s, OUT) else b.st[S_U]) - b.st[S_FF]
    return b.st[S_REDUCED] != 0.0


cdef void _limits(Block* b, Scan* s) noexcept nogil:
    # pins only tighten; where they cross, the high one wins: it is the one that protects a supply or a peak
    cdef double lo = b.par[LO], hi = b.par[HI]
    if ok(b, s, HIGH_PIN):
        hi = clamp(val(b, s, HIGH_PIN), lo, hi)
    if _reduced(b, s):
        hi = clamp(b.st[S_BASE] + b.st[S_FF] - val(b, s, REDUCE), lo, hi)
    if ok(b, s, LOW_PIN):
        lo = clamp(val(b, s, LOW_PIN), lo, hi)
    b.st[S_LO] = lo
    b.st[S_HI] = hi


cdef void _filter(Block* b, Scan* s, double y) noexcept nogil:
    # two first-order lags of half the time each: the roll-off that derivative action needs
    cdef double a
    if b.par[PV_FILTER] <= 0.0 or b.st[S_F_ON] == 0.0 or s.fresh:
        b.st[S_F1] = y
        b.st[S_F2] = y
        b.st[S_F_ON] = 1.0
        return
    a = 1.0 - exp(-s.dt / (0.5 * b.par[PV_FILTER]))
    b.st[S_F1] += a * (y - b.st[S_F1])
    b.st[S_F2] += a * (b.st[S_F1] - b.st[S_F2])
    if not (finite(b.st[S_F1]) and finite(b.st[S_F2])):
        b.st[S_F1] = y
        b.st[S_F2] = y


cdef void _retune(Block* b, double kp, double kd) noexcept nogil:
    # parameters changed since the last scan: move the difference of P into I, scale D, so that v stays
    if b.st[S_KP] != kp or b.st[S_B] != b.par[B]:
        b.st[S_I] += (b.st[S_KP] * (b.st[S_B] * b.st[S_SP] - b.st[S_Y1])
                      - kp * (b.par[B] * b.st[S_SP] - b.st[S_Y1]))
    if b.st[S_KD] != kd:
        if b.st[S_KD] != 0.0:
            # D belongs to v1 too: what the scaling takes away goes into I
            b.st[S_I] += b.st[S_D] * (1.0 - kd / b.st[S_KD])
            b.st[S_D] *= kd / b.st[S_KD]
        else:
            b.st[S_D] = 0.0


cdef void _keep_tuning(Block* b, double kp, double kd) noexcept nogil:
    b.st[S_KP] = kp
    b.st[S_KD] = kd
    b.st[S_B] = b.par[B]


cdef void _track(Block* b, double kp, double sp, double y, double ff, double u) noexcept nogil:
    # state such that the next step with the same inputs gives u plus one scan of integral action
    b.st[S_D] = 0.0
    b.st[S_I] = u - kp * (b.par[B] * sp - y) - ff
    b.st[S_V] = u
    b.st[S_U] = u
    b.st[S_SP] = sp
    b.st[S_Y1] = y


cdef double _control(Block* b, Scan* s, double kp, double ki, double kd, double sp, double y, double ff) noexcept nogil:
    cdef double h = s.dt, e = sp - y, ach, miss, reset, di, d, tf, w, w1, v
    cdef uint8_t bits = 0
    ach = b.st[S_U]
    if answered(b, s, OUT):
        ach = s.bv[b.out[OUT]]
        bits = s.bq[b.out[OUT]] & 3
    # what really happened in the last scan: clamp, selector, slave that did not follow
    if kp != 0.0:
        reset = ki * h / (kp + ki * h)
    else:
        reset = 1.0 if ki != 0.0 else 0.0
    miss = ach - b.st[S_V]
    b.st[S_I] += reset * miss
    w = b.par[C] * sp - y
    w1 = b.par[C] * b.st[S_SP] - b.st[S_Y1]
    d = 0.0
    if kd != 0.0:
        tf = kd / kp / b.par[FILTER_N] if kp != 0.0 else 0.0
        d = (tf * b.st[S_D] + kd * (w - w1)) / (tf + h)
    di = ki * h * e
    # only where the reset above is not at work already: both together pull the output off its limit on noise
    if (di < 0.0 and bits & LIM_LOW and miss <= 0.0) or (di > 0.0 and bits & LIM_HIGH and miss >= 0.0):
        di = 0.0
    b.st[S_I] += di
    v = kp * (b.par[B] * sp - y) + b.st[S_I] + d + ff
    b.st[S_D] = d
    b.st[S_V] = v
    b.st[S_SP] = sp
    b.st[S_Y1] = y
    return v


cdef bint _required(Block* b, Scan* s) noexcept nogil:
    # a condition that cannot be read keeps its last truth for a while: one lost answer must not cut the output
    if not wired(b, REQUIRES):
        return True
    if ok(b, s, REQUIRES):
        b.st[S_REQUIRED] = 1.0 if val(b, s, REQUIRES) > 0.5 else 0.0
        b.st[S_REQUIRES_BAD] = 0.0
    else:
        b.st[S_REQUIRES_BAD] += s.dt
    return b.st[S_REQUIRED] != 0.0 and b.st[S_REQUIRES_BAD] <= b.par[REQUIRES_HOLD]


cdef int _why_not_control(Block* b, Scan* s, bint pv_ok, bint first) noexcept nogil:
    # 0 = control; else the reason, first match wins
    cdef bint required = _required(b, s)
    if ok(b, s, TRIP):
        b.st[S_TRIPPED] = 1.0 if val(b, s, TRIP) > 0.5 else 0.0
    if b.st[S_TRIPPED] != 0.0:
        return WHY_TRIPPED
    if not required:
        return WHY_REQUIRES
    if not_invited(b, s, OUT) or (first and not answered(b, s, OUT)):
        return WHY_DOWNSTREAM
    if not pv_ok:
        return WHY_MEASURE_BAD
    if b.st[S_SP_SEEN] == 0.0:
        return WHY_SETPOINT_BAD
    return 0


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef double sign = 1.0 if b.par[REVERSE] > 0.5 else -1.0
    cdef double kp = sign * b.par[KP], ki = sign * b.par[KI], kd = sign * b.par[KD]
    cdef double sp, y, ff, u, v = 0.0
    cdef bint pv_ok, sp_ok, ff_held = False, first = b.st[S_STARTED] == 0.0
    cdef bint held_down = b.st[S_REDUCED] != 0.0 and b.st[S_LIMIT] == LIM_HIGH
    cdef int why, mode
    cdef uint8_t q, q_sp, q_pv = stat(b, s, PV)
    pv_ok = ok(b, s, PV) and (b.par[UNCERTAIN_OK] > 0.5 or is_good(q_pv))
    sp_ok = ok(b, s, SP)
    _limits(b, s)
    if first:
        b.st[S_U] = clamp(b.par[SAFE], b.st[S_LO], b.st[S_HI])
        b.st[S_V] = b.st[S_U]
        _keep_tuning(b, kp, kd)
    if pv_ok:
        _filter(b, s, val(b, s, PV))
        b.st[S_Y] = b.st[S_F2]
        b.st[S_Y_SEEN] = 1.0
        b.st[S_BAD_FOR] = 0.0
    else:
        b.st[S_F_ON] = 0.0
        b.st[S_BAD_FOR] += s.dt
    y = b.st[S_Y]
    sp = b.st[S_SP]
    if sp_ok:
        sp = val(b, s, SP)
        b.st[S_SP_SEEN] = 1.0
    if ok(b, s, FF):
        ff = val(b, s, FF)
        b.st[S_FF] = ff
    else:
        ff = b.st[S_FF]
        ff_held = wired(b, FF)
    why = _why_not_control(b, s, pv_ok, first)
    u = s.bv[b.out[OUT]] if answered(b, s, OUT) else b.st[S_U]
    mode = MODE_CASCADE if stat(b, s, SP) >= QC_OK and sp_ok else MODE_AUTO
    q = <uint8_t>QC_OK
    if why == WHY_TRIPPED or why == WHY_REQUIRES:
        mode, u, q = MODE_LOCAL, b.par[SAFE], <uint8_t>Q_GOOD
    elif why == WHY_DOWNSTREAM:
        # before anybody has answered there is no command yet: bad status makes the output block hold
        mode, q = MODE_INITIALISING, <uint8_t>(Q_UNC_INITIAL if answered(b, s, OUT) else Q_BAD)
    elif why == WHY_MEASURE_BAD:
        mode, q = MODE_MANUAL, <uint8_t>Q_UNC_LAST
        if b.par[BAD_ACTION] > 0.5 and b.st[S_BAD_FOR] > b.par[HOLD_TIME]:
            u, q = b.par[BAD_OUTPUT], <uint8_t>Q_UNC_SUBST
    elif why == WHY_SETPOINT_BAD:
        mode, q = MODE_INITIALISING, <uint8_t>Q_UNC_INITIAL
    b.st[S_LIMIT] = 0.0
    if why != 0:
        u = clamp(u, b.st[S_LO], b.st[S_HI])
        _track(b, kp, sp, y, ff, u)
        b.st[S_ACTIVE] = 0.0
    else:
        if b.st[S_ACTIVE] == 0.0 or s.fresh or (held_down and b.st[S_REDUCED] == 0.0):
            # also where a reduction ends: what was held back must not come as one step
            _track(b, kp, sp, y, ff, clamp(u, b.st[S_LO], b.st[S_HI]))
        else:
            _retune(b, kp, kd)
        v = _control(b, s, kp, ki, kd, sp, y, ff)
        b.st[S_ACTIVE] = 1.0
        if not is_good(q_pv):
            q = worst(q, q_pv)
        if not sp_ok:
            q, why = worst(q, Q_UNC_LAST), WHY_SETPOINT_BAD
        elif ff_held:
            q, why = worst(q, Q_UNC_LAST), WHY_SUBSTITUTE
        if not finite(v):
            # overflow of absurd inputs: hold, and start again by tracking
            b.st[S_ACTIVE] = 0.0
            mode, why, q, u = MODE_MANUAL, WHY_MEASURE_BAD, <uint8_t>Q_UNC_LAST, clamp(b.st[S_U], b.st[S_LO], b.st[S_HI])
        else:
            u = clamp(v, b.st[S_LO], b.st[S_HI])
            if v >= b.st[S_HI]:
                b.st[S_LIMIT] = LIM_HIGH
                if why == 0:
                    why = WHY_PEAK if b.st[S_REDUCED] != 0.0 else WHY_LIMIT_HIGH
            elif v <= b.st[S_LO]:
                b.st[S_LIMIT] = LIM_LOW
                why = WHY_LIMIT_LOW if why == 0 else why
        b.st[S_U] = u
    _keep_tuning(b, kp, kd)
    b.st[S_STARTED] = 1.0
    q_sp = stat(b, s, SP) if sp_ok else <uint8_t>(Q_UNC_LAST if b.st[S_SP_SEEN] != 0.0 else Q_BAD)
    if pv_ok and b.st[S_SP_SEEN] != 0.0 and finite(sp - y):
        b.st[S_ERROR] = sp - y
        put(b, s, ERROR, b.st[S_ERROR], worst(q_pv, q_sp))
    else:
        put(b, s, ERROR, b.st[S_ERROR], Q_BAD)
    put(b, s, OUT, u, q | <uint8_t>b.st[S_LIMIT])
    put(b, s, MODE, mode, Q_GOOD)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, WORKING, sp, q_sp)
    put(b, s, OUT_HIGH, b.st[S_HI], Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    cdef uint8_t bits
    if b.st[S_ACTIVE] == 0.0:
        answer(b, s, SP, b.st[S_Y], QC_NOT_INVITED if b.st[S_Y_SEEN] != 0.0 else Q_BAD_NO_COMMS)
        answer(b, s, LOW_PIN, b.st[S_U], QC_NOT_INVITED)
        answer(b, s, HIGH_PIN, b.st[S_U], QC_NOT_INVITED)
        return 0
    bits = <uint8_t>b.st[S_LIMIT]
    if answered(b, s, OUT):
        bits |= s.bq[b.out[OUT]] & 3
    if b.par[REVERSE] <= 0.5:
        # a higher setpoint lowers the output of a direct-acting loop
        bits = ((bits & LIM_LOW) << 1) | ((bits & LIM_HIGH) >> 1)
    answer(b, s, SP, b.st[S_SP], <uint8_t>QC_OK | bits)
    answer(b, s, LOW_PIN, b.st[S_LO], QC_OK)
    answer(b, s, HIGH_PIN, b.st[S_HI], QC_OK)
    return 0


register(Kind(
    "pid",
    inputs=("pv", "sp", "ff?", "out_low?", "out_high?", "requires?", "trip?", "reduce?"),
    outputs=("out", "error", "mode", "why", "setpoint", "out_high"),
    params=(("kp", None), ("ki", 0.0), ("kd", 0.0), ("filter_n", 8.0), ("b", 1.0), ("c", 0.0), ("pv_filter", 0.0),
            ("reverse", 1.0), ("lo", None), ("hi", None), ("hold_time", 60.0), ("bad_action", 0.0),
            ("bad_output", 0.0), ("safe_output", None), ("uncertain_ok", 1.0), ("requires_hold", 0.0)),
    state=("started", "active", "i", "d", "v", "u", "sp", "sp_seen", "y", "y_seen", "y1", "f1", "f2", "f_on", "ff",
           "bad_for", "kp", "kd", "b", "tripped", "lo", "hi", "limit", "error", "reduced", "base",
           "required", "requires_bad"),
    doc="""PID controller, positional algorithm with external reset.

    e = sp - y;  w = c sp - y;  reverse = 0 changes the sign of kp, ki and kd
    I += (ki h / (kp + ki h)) (achieved - v1)      what really happened in the last scan
    D  = (Tf D1 + kd (w - w1)) / (Tf + h),  Tf = kd / kp / filter_n
    I += ki h e                                    not further into a limit that the consumer reports, unless the
                                                   line above pulls back already
    v  = kp (b sp - y) + I + D + ff;  out = clamp(v, lo, hi)

    kp [out/pv], ki [out/(pv s)], kd [out s/pv], pv_filter [s] two lags of half of it each, hold_time [s]; lo, hi,
    bad_output, safe_output in the unit of out. out_low and out_high tighten lo..hi; where they cross, out_high wins.
    reduce > 0 [unit of out] lowers hi to the output achieved when it began, plus what ff has changed since then, less
    reduce; where it ends the loop goes on from the achieved output, without a step. The output out_high is the limit in force.
    requires false, or bad for more than requires_hold [s]: local, safe_output. trip true: local, safe_output; a bad trip pin keeps its last state.
    Output below not taking commands: initialising, tracks the achieved value. pv bad: manual, output held; with
    bad_action 1 goes to bad_output after hold_time. sp bad: last setpoint. Every return to control starts at the
    achieved value plus ki h e. Parameters may change while it runs: the output does not jump.
    Answers sp with the working setpoint and the limit bits of the output.

    Sources: Astrom & Hagglund, Advanced PID Control (2006), ch. 3 and 13; ISA-TR5.9 PID algorithms and performance;
    FOUNDATION Fieldbus FF-891 function blocks (modes, statuses, back-calculation).""",
), _step, _back)
