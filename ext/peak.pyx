"""Peak limiter: keeps the energy of a demand window inside its limit by battery, reduction and shedding."""

from libc.math cimport exp, floor

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    METER, LEFT, LIMIT_PIN, BATTERY, COUNTER

cdef enum:
    ALLOW, FORECAST, LIMIT, EXCESS, REQUEST, REDUCE, SHED, MODE, WHY, AVERAGE

cdef enum:
    LENGTH, MARGIN, NEAR_END_CAP, END_CAP, POWER_FILTER, FALLBACK, LIMIT_VALID, REDUCE_MAX, REDUCE_FOR, REDUCE_MIN_OFF
    SHED_KW, SHED_MIN_OFF, RELEASE_BAND

cdef enum:
    S_STARTED, S_K, S_E, S_PF, S_SEEN, S_PARTIAL, S_LEFT, S_LEFT_AGE, S_COUNTER, S_COUNTER_OK, S_UTC, S_REQUEST
    S_BATTERY, S_REDUCE, S_REDUCE_T, S_REDUCE_ON, S_SHED, S_SHED_T

cdef double FROZEN = 5.0                 # s after which an unchanged "time left" is not believed
cdef double NEAR_END = 60.0              # s before the end where the lower cap holds
cdef double BAD_METER_MARGIN = 0.02      # added to the margin while the meter is bad
cdef double UNKNOWN = 1e9                # kW: no real power is so large; a battery that has not said where it ends
cdef double GIVE_BACK = 60.0                # s over which a reduction that lasted reduce_for is given back
cdef double SHORTEST = 1e-3              # s of a window that have a mean of their own
cdef double HYSTERESIS = 1.3             # of a load before it comes back


cdef inline bint _metered(Block* b, Scan* s) noexcept nogil:
    return ok(b, s, METER) and -UNKNOWN < val(b, s, METER) < UNKNOWN


cdef inline bint _limit_ok(Block* b, Scan* s) noexcept nogil:
    return ok(b, s, LIMIT_PIN) and b.par[LIMIT_VALID] <= val(b, s, LIMIT_PIN) < UNKNOWN


cdef double _elapsed(Block* b, Scan* s) noexcept nogil:
    # s since the start of the window: from the utility's pulse, else from the clock
    cdef double length = b.par[LENGTH], left, k
    if ok(b, s, LEFT):
        left = val(b, s, LEFT)
        b.st[S_LEFT_AGE] = b.st[S_LEFT_AGE] + s.dt if left == b.st[S_LEFT] and not s.fresh else 0.0
        b.st[S_LEFT] = left
        if 0.0 <= left <= length and b.st[S_LEFT_AGE] <= max(FROZEN, 2.0 * s.dt):
            return length - left if left > 0.0 else 0.0
    k = s.utc - length * floor(s.utc / length)
    return clamp(k, 0.0, length) if finite(k) else 0.0


cdef double _gap(Block* b, Scan* s) noexcept nogil:
    # s since the last scan; after a restart the clock knows more than the task
    cdef double g = s.utc - b.st[S_UTC]
    return g if s.fresh and g > s.dt else s.dt


cdef double _energy_since(Block* b, Scan* s, double gap) noexcept nogil:
    # kWs since the last scan. A meter that was away is replaced by the difference of its counter.
    cdef bint counter = ok(b, s, COUNTER)
    cdef double e = b.st[S_PF] * gap, d
    if _metered(b, s) and (gap <= 3.0 * s.dt or not counter):
        e = val(b, s, METER) * gap
    elif counter and b.st[S_COUNTER_OK] != 0.0:
        d = 3600.0 * (val(b, s, COUNTER) - b.st[S_COUNTER])
        e = d if 0.0 <= d < UNKNOWN * gap else e         # a counter that went back was replaced or reset
    if counter:
        b.st[S_COUNTER] = val(b, s, COUNTER)
        b.st[S_COUNTER_OK] = 1.0
    return e


cdef void _window(Block* b, Scan* s) noexcept nogil:
    cdef double k = _elapsed(b, s), gap = _gap(b, s), e = _energy_since(b, s, gap)
    if b.st[S_STARTED] == 0.0:
        # the part of this window that nobody saw is assumed to be like now
        b.st[S_E] = b.st[S_PF] * k
        b.st[S_PARTIAL] = 1.0 if k > s.dt else 0.0
    elif k < b.st[S_K] - 0.5 * b.par[LENGTH] or gap >= b.par[LENGTH]:
        b.st[S_E] = e * min(1.0, k / gap) if gap < b.par[LENGTH] else b.st[S_PF] * k
        b.st[S_PARTIAL] = 0.0 if gap < b.par[LENGTH] else 1.0
        if b.st[S_REDUCE_ON] == 0.0 and b.st[S_SHED] == 0.0:
            b.st[S_BATTERY] = UNKNOWN    # ask again
    else:
        b.st[S_E] += e
    b.st[S_K] = k
    b.st[S_UTC] = s.utc


cdef void _power(Block* b, Scan* s) noexcept nogil:
    cdef double a
    if not _metered(b, s):
        return
    if b.st[S_SEEN] == 0.0 or s.fresh or b.par[POWER_FILTER] <= 0.0:
        b.st[S_PF] = val(b, s, METER)
    else:
        a = 1.0 - exp(-s.dt / b.par[POWER_FILTER])
        b.st[S_PF] += a * (val(b, s, METER) - b.st[S_PF])
    b.st[S_SEEN] = 1.0


cdef double _request_battery(Block* b, Scan* s, double gain, double excess_now, double excess) noexcept nogil:
    # integrating: extra discharge on top of what the battery does; returns the headroom that it still has.
    # A battery whose end is not known yet is believed to cover the excess, no more.
    cdef double have = 0.0, base = b.st[S_REQUEST]
    if answered(b, s, REQUEST) and not not_invited(b, s, REQUEST):
        base = clamp(s.bv[b.out[REQUEST]], 0.0, base)
        if s.bq[b.out[REQUEST]] & LIM_HIGH:
            b.st[S_BATTERY] = max(s.bv[b.out[REQUEST]], 0.0)
        have = b.st[S_BATTERY]
    if wired(b, BATTERY):
        if ok(b, s, BATTERY):
            have = clamp(val(b, s, BATTERY), 0.0, b.st[S_BATTERY])
        else:
            have = 0.0
    if not_invited(b, s, REQUEST):
        have = 0.0
    b.st[S_REQUEST] = clamp(base + gain * excess_now, 0.0, have)
    return have - b.st[S_REQUEST] if have < UNKNOWN else max(excess, 0.0)


cdef void _reduce(Block* b, Scan* s, double gain, double rest) noexcept nogil:
    # at most reduce_for without a break, then at least reduce_min_off before the next time
    b.st[S_REDUCE_T] += s.dt
    if b.st[S_REDUCE_ON] == 0.0:
        b.st[S_REDUCE] = max(0.0, b.st[S_REDUCE] - b.par[REDUCE_MAX] * s.dt / GIVE_BACK)
        if b.st[S_REDUCE_T] < b.par[REDUCE_MIN_OFF] or not (rest > 0.0 and b.par[REDUCE_MAX] > 0.0):
            return
        b.st[S_REDUCE_ON] = 1.0
        b.st[S_REDUCE_T] = 0.0
    elif b.par[REDUCE_FOR] > 0.0 and b.st[S_REDUCE_T] >= b.par[REDUCE_FOR]:
        b.st[S_REDUCE_ON] = 0.0
        b.st[S_REDUCE_T] = 0.0
        return
    if rest > 0.0:
        b.st[S_REDUCE] += gain * rest
    elif rest < -b.par[RELEASE_BAND] and b.st[S_SHED] == 0.0:
        b.st[S_REDUCE] += gain * (rest + b.par[RELEASE_BAND])
    b.st[S_REDUCE] = clamp(b.st[S_REDUCE], 0.0, b.par[REDUCE_MAX])
    if b.st[S_REDUCE] == 0.0:
        b.st[S_REDUCE_ON] = 0.0
        b.st[S_REDUCE_T] = 0.0


cdef void _shed(Block* b, Scan* s, double rest) noexcept nogil:
    cdef double back = max(b.par[RELEASE_BAND], HYSTERESIS * b.par[SHED_KW])
    cdef bint exhausted = b.st[S_REDUCE_ON] == 0.0 or b.st[S_REDUCE] >= b.par[REDUCE_MAX]
    b.st[S_SHED_T] += s.dt
    if b.st[S_SHED] == 0.0:
        if rest > 0.0 and exhausted and b.par[SHED_KW] > 0.0:
            b.st[S_SHED] = 1.0
            b.st[S_SHED_T] = 0.0
    elif b.st[S_SHED_T] >= b.par[SHED_MIN_OFF] and rest < -back:
        b.st[S_SHED] = 0.0
        b.st[S_SHED_T] = 0.0


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef bint meter = _metered(b, s), own_limit = not wired(b, LIMIT_PIN)
    cdef double limit = b.par[FALLBACK], margin = b.par[MARGIN], left, allow, cap, target, gain, rest, excess, now
    cdef uint8_t q = Q_GOOD, q_limit = Q_GOOD if own_limit else Q_UNC_SUBST
    cdef int why = WHY_NORMAL
    if _limit_ok(b, s):
        limit, q_limit = val(b, s, LIMIT_PIN), stat(b, s, LIMIT_PIN)
    if q_limit == Q_UNC_SUBST:
        why = WHY_SUBSTITUTE
    if b.st[S_STARTED] == 0.0:
        b.st[S_REDUCE_T] = b.par[REDUCE_MIN_OFF]
        b.st[S_BATTERY] = UNKNOWN
    _power(b, s)
    _window(b, s)
    if not meter:
        margin += BAD_METER_MARGIN
        why = WHY_MEASURE_BAD
        q = <uint8_t>(Q_UNC_SUBST if b.st[S_SEEN] != 0.0 else Q_BAD_NO_COMMS)
    elif b.st[S_PARTIAL] != 0.0:
        q = Q_UNC_INITIAL
    left = max(b.par[LENGTH] - b.st[S_K], s.dt)
    allow = (limit * (1.0 - margin) * b.par[LENGTH] - b.st[S_E]) / left
    cap = limit * (b.par[END_CAP] if left <= NEAR_END else b.par[NEAR_END_CAP])
    target = clamp(allow, 0.5 * limit, cap)
    now = val(b, s, METER) if meter else b.st[S_PF]
    excess = b.st[S_PF] - target
    # in the first scan nobody has answered yet what the battery can do
    if b.st[S_STARTED] != 0.0 and b.st[S_SEEN] != 0.0 and finite(excess) and finite(b.st[S_E]):
        gain = 1.0 - exp(-s.dt / b.par[POWER_FILTER]) if b.par[POWER_FILTER] > 0.0 else 1.0
        rest = excess - _request_battery(b, s, gain, now - target, excess)
        _reduce(b, s, gain, rest)
        _shed(b, s, rest)
    b.st[S_STARTED] = 1.0
    if (b.st[S_REQUEST] > 0.0 or b.st[S_REDUCE] > 0.0 or b.st[S_SHED] != 0.0) and why != WHY_MEASURE_BAD:
        why = WHY_PEAK
    put(b, s, ALLOW, allow, worst(q, q_limit))
    put(b, s, FORECAST, (b.st[S_E] + b.st[S_PF] * (b.par[LENGTH] - b.st[S_K])) / b.par[LENGTH], q)
    put(b, s, LIMIT, limit, q_limit)
    put(b, s, EXCESS, excess, worst(q, q_limit))
    put(b, s, REQUEST, b.st[S_REQUEST], Q_GOOD)
    put(b, s, REDUCE, b.st[S_REDUCE], Q_GOOD)
    put(b, s, SHED, b.st[S_SHED], Q_GOOD)
    put(b, s, MODE, MODE_AUTO, Q_GOOD)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, AVERAGE, b.st[S_E] / b.st[S_K] if b.st[S_K] >= SHORTEST else b.st[S_PF], q)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    cdef double limit = b.par[FALLBACK]
    if _limit_ok(b, s):
        limit = val(b, s, LIMIT_PIN)
    answer(b, s, LIMIT_PIN, limit, QC_OK)
    return 0


register(Kind(
    "peak_limiter",
    inputs=("meter", "left?", "limit?", "battery_available?", "counter?"),
    outputs=("allow", "forecast", "limit", "excess", "battery_request", "reduce", "shed", "mode", "why", "average"),
    params=(("length", 900.0), ("margin", 0.015), ("near_end_cap", 1.10), ("end_cap", 1.02), ("power_filter", 10.0),
            ("limit_fallback", None), ("limit_valid", 1.0), ("reduce_max", 0.0), ("reduce_for", 0.0),
            ("reduce_min_off", 0.0), ("shed_kw", 0.0), ("shed_min_off", 0.0), ("release_band", 10.0)),
    state=("started", "k", "e", "p_filtered", "seen", "partial", "left", "left_age", "counter", "counter_ok", "utc",
           "request", "battery", "reduce", "reduce_t", "reduce_on", "shed", "shed_t"),
    doc="""Energy budget of a billing window, powers in kW, energy in kWs, times in s.

    E = sum of meter dt in this window, k = s since its start: length - left, or the clock where left is bad or frozen
    allow = (L (1 - margin) length - E) / (length - k)
    target = clamp(allow, L / 2, near_end_cap L; end_cap L in the last 60 s)
    excess = P - target, P = first-order lag of meter with power_filter;  forecast = (E + P (length - k)) / length
    average = E / k

    L = limit when usable and >= limit_valid, else limit_fallback. In this order: battery_request [kW >= 0] extra
    discharge, integrating, as far as the battery answers or battery_available says; reduce 0..reduce_max kW, at most
    reduce_for (0 = no end), given back over 60 s, and not again before reduce_min_off; shed 0/1 for at least shed_min_off, back when there is room
    for 1.3 shed_kw. Between excess 0 and -release_band the reduction stays. meter bad: the counter [kWh] or the last
    power goes on, margin + 2 points. A window whose start was not seen is uncertain and assumed to be like now.

    Source: demand limiting by window budget, Capehart, Turner & Kennedy, Guide to Energy Management (2016).""",
), _step, _back)
