"""Battery follow: power setpoint inside state of charge, power and ramp; the peak guard may ask for more."""

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    MEASURE, SP, SOC, REQUEST, RESERVE_OK

cdef enum:
    OUT, MODE, WHY, WORKING

cdef enum:
    RAMP, P_MAX, SOC_MIN, SOC_MAX, CAPACITY, BAND, RESERVE

cdef enum:
    S_STARTED, S_U, S_TRACKING, S_PLAN, S_WANT, S_REQUEST, S_EXTRA, S_PLAN_BITS, S_SOC_OK


cdef double _power(Block* b, double room, double dt) noexcept nogil:
    # power that `room` (% of capacity to the limit) allows: p_max, less in the last band, nothing beyond
    cdef double p = b.par[P_MAX], energy = room / 100.0 * b.par[CAPACITY] * 3600.0 / dt
    if not room > 0.0:
        return 0.0
    if room < b.par[BAND]:
        p = p * room / b.par[BAND]
    return p if p < energy else energy


cdef int _target(Block* b, Scan* s) noexcept nogil:
    # fills S_PLAN (setpoint inside its limits), S_EXTRA (part of the request that fits); returns the reason
    cdef double soc = val(b, s, SOC), floor_plan, charge, plan_max, peak_max, sp, request = 0.0
    cdef bint may = not wired(b, RESERVE_OK) or (ok(b, s, RESERVE_OK) and val(b, s, RESERVE_OK) > 0.5)
    floor_plan = b.par[SOC_MIN] + b.par[RESERVE]
    charge = _power(b, b.par[SOC_MAX] - soc, s.dt)
    plan_max = _power(b, soc - floor_plan, s.dt)
    peak_max = _power(b, soc - b.par[SOC_MIN], s.dt) if may else plan_max
    sp = val(b, s, SP) if ok(b, s, SP) else 0.0
    if ok(b, s, REQUEST) and val(b, s, REQUEST) > 0.0:
        request = val(b, s, REQUEST)
    b.st[S_PLAN] = clamp(sp, -charge, plan_max)
    b.st[S_PLAN_BITS] = LIM_HIGH if sp > plan_max else (LIM_LOW if sp < -charge else 0)
    b.st[S_REQUEST] = request
    b.st[S_EXTRA] = clamp(request, 0.0, peak_max - b.st[S_PLAN])
    if b.st[S_EXTRA] < request or b.st[S_PLAN] != clamp(sp, -b.par[P_MAX], b.par[P_MAX]):
        return WHY_SOC
    if request > 0.0:
        return WHY_PEAK
    if not ok(b, s, SP):
        return WHY_SETPOINT_BAD
    if b.st[S_PLAN_BITS] != 0.0:
        return WHY_LIMIT_HIGH if b.st[S_PLAN_BITS] == LIM_HIGH else WHY_LIMIT_LOW
    return WHY_NORMAL


cdef void _start(Block* b, Scan* s) noexcept nogil:
    # adopt what the battery does now
    if answered(b, s, OUT):
        b.st[S_U] = clamp(s.bv[b.out[OUT]], -b.par[P_MAX], b.par[P_MAX])
    elif b.st[S_STARTED] == 0.0 and ok(b, s, MEASURE):
        b.st[S_U] = clamp(val(b, s, MEASURE), -b.par[P_MAX], b.par[P_MAX])


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef bint first = b.st[S_STARTED] == 0.0, away = not_invited(b, s, OUT), soc_ok = ok(b, s, SOC)
    cdef int why = WHY_MEASURE_BAD, mode
    cdef double step, want = 0.0
    cdef uint8_t q, q_sp = stat(b, s, SP) if ok(b, s, SP) else <uint8_t>Q_UNC_SUBST
    b.st[S_SOC_OK] = 1.0 if soc_ok else 0.0
    b.st[S_PLAN] = 0.0
    b.st[S_EXTRA] = 0.0
    b.st[S_REQUEST] = val(b, s, REQUEST) if ok(b, s, REQUEST) else 0.0
    b.st[S_PLAN_BITS] = LIM_CONST
    if soc_ok:
        why = _target(b, s)
        want = b.st[S_PLAN] + b.st[S_EXTRA]
    if away or first or s.fresh or b.st[S_TRACKING] != 0.0:
        _start(b, s)
    b.st[S_STARTED] = 1.0
    b.st[S_WANT] = want
    if away or (first and not answered(b, s, OUT)):
        # before anybody has answered there is no command yet: bad status makes the output block hold
        mode, why, q = MODE_INITIALISING, WHY_DOWNSTREAM, <uint8_t>(Q_UNC_INITIAL if answered(b, s, OUT) else Q_BAD)
    else:
        mode = MODE_CASCADE if q_sp >= QC_OK else MODE_AUTO
        q = worst(q_sp, Q_GOOD)
        if not soc_ok:
            q = Q_UNC_SUBST
        elif stat(b, s, SOC) < Q_GOOD:
            q = worst(q, stat(b, s, SOC))
        step = b.par[RAMP] * s.dt
        if b.par[RAMP] > 0.0 and (want - b.st[S_U] > step or b.st[S_U] - want > step):
            b.st[S_U] += step if want > b.st[S_U] else -step
            why = WHY_RAMPING if why == WHY_NORMAL else why
        else:
            b.st[S_U] = want
        if soc_ok:
            # the state of charge limits hold at once, whatever the ramp
            b.st[S_U] = clamp(b.st[S_U], -_power(b, b.par[SOC_MAX] - val(b, s, SOC), s.dt),
                              _power(b, val(b, s, SOC) - b.par[SOC_MIN], s.dt))
    b.st[S_TRACKING] = 1.0 if mode == MODE_INITIALISING else 0.0
    put(b, s, OUT, b.st[S_U], q)
    put(b, s, MODE, mode, Q_GOOD)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, WORKING, val(b, s, SP) if ok(b, s, SP) else 0.0, q_sp)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    cdef double u = s.bv[b.out[OUT]] if answered(b, s, OUT) else b.st[S_U]
    cdef uint8_t bits = s.bq[b.out[OUT]] & 3 if answered(b, s, OUT) else 0
    if b.st[S_TRACKING] != 0.0:
        answer(b, s, SP, u, QC_NOT_INVITED)
        answer(b, s, REQUEST, 0.0, QC_NOT_INVITED)
        return 0
    answer(b, s, SP, u - b.st[S_EXTRA], <uint8_t>QC_OK | bits | <uint8_t>b.st[S_PLAN_BITS])
    # not the bits of the output: an output that is still ramping is no end of the battery
    bits = LIM_HIGH if b.st[S_EXTRA] < b.st[S_REQUEST] or b.st[S_SOC_OK] == 0.0 else 0
    answer(b, s, REQUEST, b.st[S_EXTRA], <uint8_t>QC_OK | bits)
    return 0


register(Kind(
    "power_follow",
    inputs=("measure", "sp", "soc", "peak_request?", "peak_reserve_ok?"),
    outputs=("out", "mode", "why", "setpoint"),
    params=(("ramp", 0.0), ("p_max", None), ("soc_min", None), ("soc_max", None), ("capacity", None),
            ("derate_band", 5.0), ("reserve", 0.0)),
    state=("started", "u", "tracking", "plan", "want", "request", "extra", "plan_bits", "soc_ok"),
    doc="""Battery power command, kW, + = discharge.

    derate(room) = p_max clamp(room / derate_band, 0, 1), never more than the energy left in one scan; room in % of capacity
    plan  = clamp(sp, -derate(soc_max - soc), derate(soc - soc_min - reserve))
    extra = clamp(peak_request, 0, derate(soc - soc_min) - plan)        peak_request [kW >= 0] comes on top of the plan
    out   = plan + extra, at most ramp [kW/s] (0 = at once), always inside the state of charge limits

    soc, soc_min, soc_max, reserve, derate_band in %, capacity in kWh. reserve is kept for the peak guard: the plan may
    not use it; a wired peak_reserve_ok that is false or bad keeps the guard out too. sp bad: 0 kW. soc bad: 0 kW, no
    request. Command not taken: tracks the achieved power, at the start the measured one. Answers sp with the plan's
    part, peak_request with the extra that is given and LIM_HIGH when there is no more.

    Source: SunSpec information model 124 (storage: charge limits, ramp, reserve).""",
), _step, _back)
