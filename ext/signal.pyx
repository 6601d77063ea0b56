"""Signal blocks: select, source, filter, linear_sum, ratio, scale, ramp."""

from libc.math cimport exp, fabs

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    MAX_SELECT = 32


cdef inline uint8_t _why_bad(Block* b, Scan* s, int i) noexcept nogil:
    # status of an input that is not ok(): its own, or plain bad when it says good but is no number
    cdef uint8_t q = stat(b, s, i)
    return q if q < 0x40 else <uint8_t>Q_BAD


cdef inline uint8_t _mirror(uint8_t q) noexcept nogil:
    # limit bits seen through a falling line: low and high change places
    return <uint8_t>((q & 0xFC) | ((q & 1) << 1) | ((q & 2) >> 1))


cdef int _no_back(Block* b, Scan* s) except -1 nogil:
    return 0


# ------------------------------------------------------------------------------------------------ select
cdef enum:
    SEL_MODE = 0
    SEL_MIN_GOOD
    SEL_MAX_DIFF
    SEL_TIME

cdef enum:
    SEL_HAVE = 0     # 1 while the last scan gave a usable value
    SEL_Y
    SEL_B            # offset that hides the switch and fades
    SEL_INDEX        # chosen input; -1: none alone (mean, median of an even number, or bad)
    SEL_MASK         # bit i: input i was usable in the last scan

cdef enum:
    FIRST_GOOD = 0
    MEDIAN
    MINIMUM
    MAXIMUM
    MEAN


cdef struct Choice:
    double x
    uint8_t q
    int index
    int n                # usable inputs
    int wanted           # wired inputs
    double mask
    double spread        # largest minus smallest usable value


cdef inline void _insert(double* xs, int* ids, int n, double x, int i) noexcept nogil:
    # keep ascending; equal values keep the order of the inputs
    cdef int k = n
    while k > 0 and xs[k - 1] > x:
        xs[k] = xs[k - 1]
        ids[k] = ids[k - 1]
        k -= 1
    xs[k] = x
    ids[k] = i


cdef inline void _pick(Block* b, Scan* s, Choice* c, double* xs, int* ids, int first) noexcept nogil:
    cdef int mode = <int>b.par[SEL_MODE], k
    if mode == MEAN:
        c.index, c.x, c.q = -1, 0.0, 0xFC
        for k in range(c.n):
            c.x += xs[k] / c.n
            c.q = worst(c.q, stat(b, s, ids[k]))
        return
    if mode == MEDIAN and c.n % 2 == 0:
        k = c.n // 2
        c.index = -1
        c.x = 0.5 * xs[k - 1] + 0.5 * xs[k]
        c.q = worst(stat(b, s, ids[k - 1]), stat(b, s, ids[k]))
        return
    if mode == FIRST_GOOD:
        c.index = first
    elif mode == MEDIAN:
        c.index = ids[c.n // 2]
    elif mode == MINIMUM:
        c.index = ids[0]
    else:
        c.index = ids[c.n - 1]
    c.x = val(b, s, c.index)
    c.q = stat(b, s, c.index)


cdef inline void _choose(Block* b, Scan* s, Choice* c) noexcept nogil:
    cdef double[MAX_SELECT] xs
    cdef int[MAX_SELECT] ids
    cdef int i, first = -1
    c.n, c.wanted, c.mask, c.index, c.spread, c.x, c.q = 0, 0, 0.0, -1, 0.0, 0.0, Q_BAD
    for i in range(b.n_in if b.n_in < MAX_SELECT else MAX_SELECT):
        c.wanted += wired(b, i)
        if ok(b, s, i):
            if first < 0:
                first = i
            _insert(xs, ids, c.n, val(b, s, i), i)
            c.n += 1
            c.mask += <double>(<uint64_t>1 << i)
    if c.n == 0:
        return
    c.spread = xs[c.n - 1] - xs[0]
    _pick(b, s, c, xs, ids, first)


cdef int _select_step(Block* b, Scan* s) except -1 nogil:
    cdef Choice c
    cdef bint switched, disagree
    _choose(b, s, &c)
    disagree = b.par[SEL_MAX_DIFF] > 0.0 and c.n > 1 and c.spread > b.par[SEL_MAX_DIFF]
    put(b, s, 2, 1.0 if disagree else 0.0, Q_GOOD if c.n > 1 or b.par[SEL_MAX_DIFF] <= 0.0 else Q_UNC_SUBNORMAL)
    if c.n == 0 or c.n < b.par[SEL_MIN_GOOD]:
        b.st[SEL_HAVE], b.st[SEL_B], b.st[SEL_INDEX], b.st[SEL_MASK] = 0.0, 0.0, -1.0, c.mask
        put(b, s, 0, b.st[SEL_Y], Q_BAD)
        put(b, s, 1, -1.0, Q_BAD)
        return 0
    if b.st[SEL_HAVE] == 0.0 or s.fresh or b.par[SEL_TIME] <= 0.0:
        b.st[SEL_B] = 0.0
    else:
        # min, max, median and mean move over to another input without a step by themselves; a lost input makes one
        switched = c.index != b.st[SEL_INDEX] if b.par[SEL_MODE] == FIRST_GOOD else c.mask != b.st[SEL_MASK]
        b.st[SEL_B] = b.st[SEL_Y] - c.x if switched else b.st[SEL_B] * exp(-s.dt / b.par[SEL_TIME])
    if not finite(c.x + b.st[SEL_B]):
        b.st[SEL_B] = 0.0
    b.st[SEL_HAVE], b.st[SEL_INDEX], b.st[SEL_MASK] = 1.0, c.index, c.mask
    b.st[SEL_Y] = c.x + b.st[SEL_B]
    if disagree or (c.index != 0 if b.par[SEL_MODE] == FIRST_GOOD else c.n < c.wanted):
        if c.q >= Q_UNC_SUBNORMAL:
            c.q = worst(c.q, Q_UNC_SUBNORMAL)
    put(b, s, 0, b.st[SEL_Y], c.q)
    put(b, s, 1, c.index, Q_GOOD)
    return 0


cdef int _select_back(Block* b, Scan* s) except -1 nogil:
    cdef double achieved = s.bv[b.out[0]] if answered(b, s, 0) else b.st[SEL_Y]
    cdef uint8_t q = s.bq[b.out[0]] if s.bq[b.out[0]] != 0 else <uint8_t>QC_OK
    cdef double mine = achieved - b.st[SEL_B]
    cdef bint shared = b.st[SEL_HAVE] != 0.0 and b.st[SEL_INDEX] < 0.0
    cdef int i
    if not finite(mine):
        mine = achieved
    for i in range(b.n_in if b.n_in < MAX_SELECT else MAX_SELECT):
        if (shared and ok(b, s, i)) or <double>i == b.st[SEL_INDEX]:
            answer(b, s, i, mine, q)
        else:
            answer(b, s, i, achieved, QC_NOT_SELECTED)
    return 0


def _select_words(n_in, n_par, params):
    if not 1 <= n_in <= MAX_SELECT:
        raise ValueError(f"select takes 1 to {MAX_SELECT} inputs, not {n_in}")
    if params[SEL_MODE] not in (0.0, 1.0, 2.0, 3.0, 4.0):
        raise ValueError(f"select: mode {params[SEL_MODE]:g} is not 0 to 4")
    return 5


register(Kind(
    "select",
    outputs=("out", "index", "disagree"), var_input="x",
    params=(("mode", 0.0), ("min_good", 1.0), ("max_difference", 0.0), ("switch_time", 10.0)),
    state=("have", "y", "offset", "index", "mask"), state_size=_select_words,
    doc="""Selection among 1 to 32 inputs of one unit. Bad inputs are dropped; out = x_selected + B.

    mode: 0 first usable in the order of the list, 1 median (mean of the middle two when even), 2 minimum, 3 maximum, 4 mean.
    switch_time [s]: B = last out - x_selected at a switch, then B *= exp(-dt/switch_time): no step at switch-over. A switch is
    another input in mode 0, and a changed set of usable inputs in the others. 0 = no bump removal.
    Status: of the selected (worst of those averaged); sub-normal 0x58 when the first is not the one in use (mode 0), when an input
    was dropped (modes 1 to 4), or when the usable inputs differ by more than max_difference [unit, 0 off]: disagree = 1.
    Fewer than min_good usable: bad, last value kept, index -1. index = -1 too when no single input is the source.
    Backward: the selected gets the consumer's achieved value (less B), the others NOT_SELECTED with it.
    Source: FF-891 input selector and control selector; Astrom and Hagglund, Advanced PID Control, ch. 12 (selector control)."""),
    _select_step, _select_back)


# ------------------------------------------------------------------------------------------------ source
cdef enum:
    SRC_RETURN = 0
    SRC_IS_VALUE
    SRC_VALUE

cdef enum:
    SRC_STARTED = 0
    SRC_HAVE
    SRC_LAST
    SRC_RUNG
    SRC_COUNT        # one counter of consecutive usable scans for each input


cdef inline int _rung(Block* b, Scan* s) noexcept nogil:
    # the rung in force; n_in = none of the list
    cdef int i, now = <int>b.st[SRC_RUNG]
    for i in range(b.n_in):
        if not ok(b, s, i):
            b.st[SRC_COUNT + i] = 0.0
        elif b.st[SRC_COUNT + i] < b.par[SRC_RETURN]:
            b.st[SRC_COUNT + i] += 1.0
    if b.st[SRC_STARTED] == 0.0:
        now = -1                         # nothing in force yet: the first usable one is taken at once
        b.st[SRC_STARTED] = 1.0
    for i in range(b.n_in):
        if ok(b, s, i) and (i >= now or b.st[SRC_COUNT + i] >= b.par[SRC_RETURN]):
            return i                     # going down is at once, climbing back needs its count
    return b.n_in


cdef int _source_step(Block* b, Scan* s) except -1 nogil:
    cdef int r = _rung(b, s)
    cdef uint8_t q
    if r < b.n_in:
        b.st[SRC_LAST] = val(b, s, r)
        b.st[SRC_HAVE] = 1.0
        q = stat(b, s, r) if r == 0 else worst(stat(b, s, r), Q_UNC_SUBST)
    elif b.par[SRC_IS_VALUE] > 0.5:
        b.st[SRC_LAST] = b.par[SRC_VALUE]
        b.st[SRC_HAVE] = 1.0
        q = Q_UNC_SUBST
    else:
        r = b.n_in + 1
        q = Q_UNC_LAST if b.st[SRC_HAVE] != 0.0 else Q_BAD
    b.st[SRC_RUNG] = r
    put(b, s, 0, b.st[SRC_LAST], q)
    put(b, s, 1, r, Q_GOOD)
    return 0


cdef int _source_back(Block* b, Scan* s) except -1 nogil:
    cdef double achieved = s.bv[b.out[0]] if answered(b, s, 0) else b.st[SRC_LAST]
    cdef uint8_t q = s.bq[b.out[0]] if s.bq[b.out[0]] != 0 else <uint8_t>QC_OK
    cdef int i
    for i in range(b.n_in):
        answer(b, s, i, achieved, q if <double>i == b.st[SRC_RUNG] else <uint8_t>QC_NOT_SELECTED)
    return 0


def _source_words(n_in, n_par, params):
    return 4 + n_in


register(Kind(
    "source",
    outputs=("out", "rung"), var_input="x",
    params=(("return_after", 2.0), ("fallback_is_value", None), ("fallback_value", 0.0)),
    state=("started", "have", "last", "rung"), state_size=_source_words,
    doc="""Setpoint ladder: out = the first valid of a ranked list of sources of one unit.

    The first scan takes the first usable source. Later a source that fails is left at once for the next usable one below; a higher
    one is taken back after return_after consecutive usable scans. rung = index in force, n = fallback_value, n+1 = holding.
    Status: rung 0 as its input; lower rungs at most substituted 0x48; none valid: fallback_value with 0x48, or the last value
    with 0x44 (bad 0x00 when there never was one). No bump handling: a ramp follows.
    Backward: the rung in force gets the consumer's answer, the others NOT_SELECTED with the achieved value.
    Source: FF-891 mode shedding with return (SHED_OPT); EPICS calcout/sel records."""),
    _source_step, _source_back)


# ------------------------------------------------------------------------------------------------ filter
cdef enum:
    FIL_TAU = 0
    FIL_KIND
    FIL_HOLD

cdef enum:
    FIL_STARTED = 0
    FIL_Y1           # first stage (second order only)
    FIL_Y
    FIL_GAP          # s since the input was last usable


cdef inline double _toward(double y, double x, double alpha) noexcept nogil:
    cdef double d = x - y
    return y + alpha * d if finite(d) else (1.0 - alpha) * y + alpha * x


cdef int _filter_step(Block* b, Scan* s) except -1 nogil:
    cdef double tau = b.par[FIL_TAU], x, alpha
    if not ok(b, s, 0):
        b.st[FIL_GAP] += s.dt
        if b.st[FIL_STARTED] != 0.0 and b.st[FIL_GAP] <= b.par[FIL_HOLD] + 1e-9:
            put(b, s, 0, b.st[FIL_Y], Q_UNC_LAST)
        else:
            put(b, s, 0, b.st[FIL_Y], _why_bad(b, s, 0))
        return 0
    x = val(b, s, 0)
    if b.st[FIL_STARTED] == 0.0 or s.fresh or tau <= 0.0 or b.st[FIL_GAP] > 3.0 * tau + 1e-9:
        b.st[FIL_STARTED] = 1.0
        b.st[FIL_Y1] = x
        b.st[FIL_Y] = x
    elif b.par[FIL_KIND] > 0.5:
        alpha = 1.0 - exp(-2.0 * s.dt / tau)
        b.st[FIL_Y1] = _toward(b.st[FIL_Y1], x, alpha)
        b.st[FIL_Y] = _toward(b.st[FIL_Y], b.st[FIL_Y1], alpha)
    else:
        b.st[FIL_Y] = _toward(b.st[FIL_Y], x, 1.0 - exp(-s.dt / tau))
    b.st[FIL_GAP] = 0.0
    put(b, s, 0, b.st[FIL_Y], stat(b, s, 0))
    return 0


cdef int _filter_back(Block* b, Scan* s) except -1 nogil:
    # unity gain at rest: what the consumer achieved is what the producer achieved
    if s.bq[b.out[0]] != 0:
        answer(b, s, 0, s.bv[b.out[0]] if answered(b, s, 0) else b.st[FIL_Y], s.bq[b.out[0]])
    return 0


register(Kind(
    "filter",
    inputs=("x",), outputs=("out",), params=(("tau", None), ("kind", 0.0), ("hold", 5.0)),
    state=("started", "y1", "y", "gap"),
    doc="""Low-pass filter, time constant tau [s] (0 = none); starts at the first usable x.

    kind 0: y += a (x - y), a = 1 - exp(-dt/tau), exact for a held input. kind 1: two of these in a row with tau/2 each.
    Bad x: y is held with 0x44 for hold [s], then bad. On return y continues, or starts again at x after a gap over 3 tau.
    Status and limits as the input. Backward: passes on what the consumer answers.
    Source: Astrom and Hagglund, Advanced PID Control, sec. 3.3 and 13.2 (measurement filter, discretisation)."""),
    _filter_step, _filter_back)


# ------------------------------------------------------------------------------------------------ linear sum
cdef int _sum_step(Block* b, Scan* s) except -1 nogil:
    cdef double y = b.par[0]
    cdef uint8_t q = 0xFC
    cdef int i, used = 0, last = 0
    for i in range(b.n_in):
        if b.par[1 + i] == 0.0:
            continue
        used += 1
        last = i
        if ok(b, s, i):
            y += b.par[1 + i] * val(b, s, i)
            q = worst(q, stat(b, s, i))
        else:
            q = worst(q, _why_bad(b, s, i))
    if q >= 0x40 and not finite(y):
        q = Q_BAD
    if q < 0x40:
        put(b, s, 0, b.st[0], q)
        return 0
    if used == 0:
        q = Q_GOOD
    elif used == 1:
        q = stat(b, s, last) if b.par[1 + last] > 0.0 else _mirror(stat(b, s, last))
    b.st[0] = y
    put(b, s, 0, y, q)
    return 0


def _sum_words(n_in, n_par, params):
    if n_par != 1 + n_in:
        raise ValueError(f"linear_sum needs one coefficient for each of its {n_in} inputs, not {n_par - 1}")
    return 1


register(Kind(
    "linear_sum",
    outputs=("out",), params=(("bias", 0.0),), var_input="x", var_param="c", state=("y",), state_size=_sum_words,
    doc="""out = bias + sum(c[i] * x[i]); bias and each c[i] * x[i] in the unit of out, added in the order of the list.

    Inputs with c = 0 are not used. Status: worst of the inputs used; with a single one its limits pass (low and high change
    places when c < 0). Any used input bad, or a result beyond the numbers: bad, last value kept.
    Source: FF-891 arithmetic block (traditional summer); EPICS calc record."""),
    _sum_step, _no_back)


# ------------------------------------------------------------------------------------------------ ratio
cdef int _ratio_step(Block* b, Scan* s) except -1 nogil:
    cdef double y
    cdef uint8_t q
    if wired(b, 2) and not (ok(b, s, 2) and val(b, s, 2) > 0.5):
        put(b, s, 0, b.st[1], Q_UNC_LAST if b.st[0] != 0.0 else Q_BAD)
        return 0
    if not (ok(b, s, 0) and ok(b, s, 1)):
        q = worst(stat(b, s, 0) if ok(b, s, 0) else _why_bad(b, s, 0),
                  stat(b, s, 1) if ok(b, s, 1) else _why_bad(b, s, 1))
        put(b, s, 0, b.st[1], q)
        return 0
    if fabs(val(b, s, 1)) < b.par[0] or val(b, s, 1) == 0.0:
        put(b, s, 0, b.st[1], Q_UNC_LAST if b.st[0] != 0.0 else Q_BAD)
        return 0
    y = b.par[1] * (val(b, s, 0) / val(b, s, 1))
    if not finite(y):
        put(b, s, 0, b.st[1], Q_BAD)
        return 0
    b.st[0] = 1.0
    b.st[1] = y
    put(b, s, 0, y, worst(stat(b, s, 0), stat(b, s, 1)))
    return 0


register(Kind(
    "ratio",
    inputs=("num", "den", "only_if?"), outputs=("out",), params=(("eps", 1e-9), ("gain", 1.0)), state=("have", "y"),
    doc="""out = gain * num / den, in [unit of num / unit of den] scaled by gain.

    only_if false (or unreadable), or |den| < eps [unit of den]: there is no ratio now. The last one is held with 0x44, or bad 0x00
    while there never was one. num or den bad: bad with their worst status, last value kept. Else the worst of num and den.
    Source: FF-891 ratio and arithmetic blocks."""),
    _ratio_step, _no_back)


# ------------------------------------------------------------------------------------------------ scale
cdef int _scale_step(Block* b, Scan* s) except -1 nogil:
    cdef double y
    cdef uint8_t q
    if not ok(b, s, 0):
        put(b, s, 0, b.st[1], _why_bad(b, s, 0))
        return 0
    y = b.par[0] * val(b, s, 0) + b.par[1]
    if not finite(y):
        put(b, s, 0, b.st[1], Q_BAD)
        return 0
    q = stat(b, s, 0)
    if b.par[0] < 0.0:
        q = _mirror(q)
    elif b.par[0] == 0.0:
        q = q & 0xFC
    b.st[0] = val(b, s, 0)
    b.st[1] = y
    put(b, s, 0, y, q)
    return 0


cdef int _scale_back(Block* b, Scan* s) except -1 nogil:
    cdef uint8_t q = s.bq[b.out[0]]
    cdef double x = b.st[0]
    if q == 0:
        return 0
    if b.par[0] == 0.0:
        answer(b, s, 0, x, QC_NOT_INVITED)       # nothing that is commanded here gets through
        return 0
    if answered(b, s, 0):
        x = (s.bv[b.out[0]] - b.par[1]) / b.par[0]
        if not finite(x):
            x = b.st[0]
    answer(b, s, 0, x, _mirror(q) if b.par[0] < 0.0 else q)
    return 0


register(Kind(
    "scale",
    inputs=("x",), outputs=("out",), params=(("a", 1.0), ("b", 0.0)), state=("x", "y"),
    doc="""out = a * x + b: change of unit or direction. a [unit of out / unit of x], b [unit of out].

    Status as x; limits pass, low and high change places when a < 0. Bad x, or a result beyond the numbers: last value, bad.
    Backward: x = (achieved - b) / a with the consumer's status; with a = 0 NOT_INVITED. Source: FF-891 XD_SCALE/OUT_SCALE."""),
    _scale_step, _scale_back)


# ------------------------------------------------------------------------------------------------ ramp
cdef enum:
    RMP_UP = 0
    RMP_DOWN
    RMP_LO
    RMP_HI

cdef enum:
    RMP_STARTED = 0
    RMP_Y
    RMP_BITS


cdef inline uint8_t _ramp_move(Block* b, Scan* s, double x) noexcept nogil:
    # one scan towards x; returns the limit bits, own clamp or rate
    cdef double target = clamp(x, b.par[RMP_LO], b.par[RMP_HI]), y = b.st[RMP_Y]
    if b.par[RMP_UP] > 0.0 and target - y > b.par[RMP_UP] * s.dt:
        b.st[RMP_Y] = y + b.par[RMP_UP] * s.dt
        return LIM_HIGH
    if b.par[RMP_DOWN] > 0.0 and y - target > b.par[RMP_DOWN] * s.dt:
        b.st[RMP_Y] = y - b.par[RMP_DOWN] * s.dt
        return LIM_LOW
    b.st[RMP_Y] = target
    return LIM_HIGH if x > b.par[RMP_HI] else (LIM_LOW if x < b.par[RMP_LO] else LIM_NONE)


cdef inline bint _ramp_follow(Block* b, Scan* s) noexcept nogil:
    # True: this scan does not ramp, y was set (or kept) to what is real
    cdef bint tracking = not_invited(b, s, 0)
    cdef double y
    if not tracking and b.st[RMP_STARTED] != 0.0 and not s.fresh:
        return False
    if ok(b, s, 1):
        y = val(b, s, 1)
    elif tracking and answered(b, s, 0):
        y = s.bv[b.out[0]]
    elif tracking and b.st[RMP_STARTED] != 0.0:
        return True
    elif ok(b, s, 0):
        y = val(b, s, 0)
    else:
        return True
    b.st[RMP_STARTED] = 1.0
    b.st[RMP_Y] = clamp(y, b.par[RMP_LO], b.par[RMP_HI])
    return True


cdef int _ramp_step(Block* b, Scan* s) except -1 nogil:
    cdef double before = b.st[RMP_Y]
    cdef bint followed = _ramp_follow(b, s), moving = False
    cdef uint8_t bits = LIM_NONE, q
    if not followed and ok(b, s, 0):
        bits = _ramp_move(b, s, val(b, s, 0))
        moving = b.st[RMP_Y] != clamp(val(b, s, 0), b.par[RMP_LO], b.par[RMP_HI]) and b.st[RMP_Y] != before
    if b.st[RMP_STARTED] == 0.0:
        q = _why_bad(b, s, 0)
    elif not ok(b, s, 0):
        q = Q_UNC_LAST
        bits = LIM_CONST
    else:
        q = stat(b, s, 0)
        if bits != LIM_NONE:
            q = (q & 0xFC) | bits
    b.st[RMP_BITS] = bits
    put(b, s, 0, b.st[RMP_Y], q)
    put(b, s, 1, 1.0 if moving else 0.0, Q_GOOD)
    return 0


cdef int _ramp_back(Block* b, Scan* s) except -1 nogil:
    cdef uint8_t q = s.bq[b.out[0]]
    if not_invited(b, s, 0):
        answer(b, s, 0, b.st[RMP_Y], q)
    else:
        answer(b, s, 0, b.st[RMP_Y], <uint8_t>(QC_OK | (q & 3) | <uint8_t>b.st[RMP_BITS]))
    return 0


register(Kind(
    "ramp",
    inputs=("x", "start?"), outputs=("out", "ramping"),
    params=(("up", 0.0), ("down", 0.0), ("lo", -1e308), ("hi", 1e308)), state=("started", "y", "bits"),
    doc="""Setpoint ramp: out moves to clamp(x, lo, hi) by at most up*dt and down*dt a scan (up, down in unit/s, 0 = at once).

    First scan and fresh scan: out = start if usable, else x. While the consumer of out does not take the command, out follows
    start, else what it achieved; the first scan after that goes on from there (bumpless). Bad x: held, 0x44; never any value: bad.
    Status as x, limit bits while limiting; ramping = 1 while the rate limits.
    Backward: out as the achieved value, QC_OK with own and consumer's limit bits, or the consumer's refusal.
    Source: FF-891 setpoint ramp (SP_RATE_UP, SP_RATE_DN, SP_HI_LIM, SP_LO_LIM)."""),
    _ramp_step, _ramp_back)
