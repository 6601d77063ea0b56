"""Staging: fixed-size units switched on and off, one trim unit takes the rest."""

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    DEMAND, TRIM_INHIBIT, UNIT_IN        # then a pair (running, inhibit) per unit

cdef enum:
    TRIM_CMD, MODE, WHY, CAPACITY, ACHIEVED, CMD_1

cdef enum:
    TRIM_CAP, TRIM_MIN, UP_ABOVE, UP_FOR, DOWN_SPARE, DOWN_FOR, ROTATE, N_UNITS, UNIT_PAR

cdef enum:
    P_CAP, P_MIN_ON, P_MIN_OFF, P_STARTS, P_ORDER, P_EACH   # parameters of a unit

cdef enum:
    S_STARTED, S_DEMAND, S_SEEN, S_UP, S_DOWN, S_TRIM, S_FIXED, S_SKIP, S_UNIT

cdef enum:
    U_ON, U_SINCE, U_SILENT, U_FAILED, U_HOURS, U_TOKENS, U_AWAY, U_STARTS, U_EACH

cdef enum:
    MAX_UNITS = 8

cdef double START_TIME = 10.0            # s a commanded unit has to report that it runs
cdef double RETRY_AFTER = 600.0          # s a failed unit is left alone


cdef inline int _n(Block* b) noexcept nogil:
    cdef int n = <int>b.par[N_UNITS], most = (b.n_in - UNIT_IN) // 2
    n = n if n < most else most
    most = (b.n_par - UNIT_PAR) // P_EACH
    n = n if n < most else most
    return n if n < MAX_UNITS else MAX_UNITS


cdef inline double* _u(Block* b, int i) noexcept nogil:
    return b.st + S_UNIT + i * U_EACH


cdef inline double* _p(Block* b, int i) noexcept nogil:
    return b.par + UNIT_PAR + i * P_EACH


cdef inline bint _running(Block* b, Scan* s, int i) noexcept nogil:
    # feedback where there is a usable one, else the command
    cdef int pin = UNIT_IN + 2 * i
    if ok(b, s, pin):
        return val(b, s, pin) > 0.5
    return _u(b, i)[U_ON] != 0.0


cdef inline bint _inhibited(Block* b, Scan* s, int i) noexcept nogil:
    cdef int pin = UNIT_IN + 2 * i + 1
    return ok(b, s, pin) and val(b, s, pin) > 0.5


cdef inline void _switch(Block* b, int i, double on) noexcept nogil:
    cdef double* u = _u(b, i)
    if u[U_ON] != on:
        u[U_ON] = on
        u[U_STARTS] += on
        u[U_SINCE] = 0.0
        u[U_SILENT] = 0.0


cdef inline bint _may_start(Block* b, Scan* s, int i) noexcept nogil:
    cdef double* u = _u(b, i)
    cdef double* p = _p(b, i)
    return u[U_SINCE] >= p[P_MIN_OFF] and (p[P_STARTS] <= 0.0 or u[U_TOKENS] >= 1.0)


cdef inline double _key(Block* b, int i) noexcept nogil:
    if b.par[ROTATE] > 1.5:
        return _u(b, i)[U_STARTS]
    return _u(b, i)[U_HOURS] if b.par[ROTATE] > 0.5 else _p(b, i)[P_ORDER]


cdef int _next_on(Block* b, Scan* s, bint any_time) noexcept nogil:
    # lowest order (or fewest hours or starts) of those that may start; any_time: whether the minimum times allow it or not
    cdef int i, best = -1
    for i in range(_n(b)):
        if _u(b, i)[U_ON] != 0.0 or _u(b, i)[U_FAILED] != 0.0 or _u(b, i)[U_AWAY] != 0.0 or _inhibited(b, s, i):
            continue
        if (any_time or _may_start(b, s, i)) and (best < 0 or _key(b, i) < _key(b, best)):
            best = i
    return best


cdef int _next_off(Block* b, Scan* s, bint any_time) noexcept nogil:
    cdef int i, best = -1
    for i in range(_n(b)):
        if _u(b, i)[U_ON] == 0.0 or _u(b, i)[U_AWAY] != 0.0:
            continue
        if not any_time and _u(b, i)[U_SINCE] < _p(b, i)[P_MIN_ON]:
            continue
        if best < 0 or _key(b, i) >= _key(b, best):
            best = i
    return best


cdef void _age(Block* b, Scan* s, bint first) noexcept nogil:
    # clocks, start tokens, adoption of what the plant does
    cdef int i
    cdef double* u
    cdef double* p
    for i in range(_n(b)):
        u, p = _u(b, i), _p(b, i)
        if first:
            u[U_TOKENS] = p[P_STARTS]
        else:
            u[U_SINCE] += s.dt
            if u[U_TOKENS] < p[P_STARTS]:
                u[U_TOKENS] = min(p[P_STARTS], u[U_TOKENS] + p[P_STARTS] * s.dt / 3600.0)
        u[U_AWAY] = 1.0 if not_invited(b, s, CMD_1 + i) else 0.0
        if first or s.fresh or u[U_AWAY] != 0.0:
            if ok(b, s, UNIT_IN + 2 * i):
                _switch(b, i, 1.0 if val(b, s, UNIT_IN + 2 * i) > 0.5 else 0.0)
            elif answered(b, s, CMD_1 + i):
                _switch(b, i, 1.0 if s.bv[b.out[CMD_1 + i]] > 0.5 else 0.0)
        if _running(b, s, i):
            u[U_HOURS] += s.dt / 3600.0


cdef bint _failures(Block* b, Scan* s) noexcept nogil:
    # commanded but silent for too long: off, and left alone for a while
    cdef int i
    cdef double* u
    cdef bint any_failed = False
    for i in range(_n(b)):
        u = _u(b, i)
        if u[U_FAILED] != 0.0:
            u[U_FAILED] = 0.0 if u[U_SINCE] >= RETRY_AFTER or u[U_AWAY] != 0.0 else 1.0
        u[U_SILENT] = 0.0 if u[U_ON] == 0.0 or _running(b, s, i) else u[U_SILENT] + s.dt
        if u[U_SILENT] >= START_TIME and u[U_AWAY] == 0.0:
            _switch(b, i, 0.0)
            u[U_FAILED] = 1.0
            b.st[S_SKIP] = 1.0
        any_failed = any_failed or u[U_FAILED] != 0.0
    return any_failed


cdef double _committed(Block* b, Scan* s) noexcept nogil:
    cdef int i
    cdef double c = 0.0 if ok(b, s, TRIM_INHIBIT) and val(b, s, TRIM_INHIBIT) > 0.5 else b.par[TRIM_CAP]
    for i in range(_n(b)):
        if _u(b, i)[U_ON] != 0.0:
            c += _p(b, i)[P_CAP]
    return c


cdef int _stage_up(Block* b, Scan* s, double q) noexcept nogil:
    # S_SKIP: a unit failed, its replacement does not wait
    cdef int i
    if not q > b.par[UP_ABOVE] * _committed(b, s):
        b.st[S_UP] = 0.0
        b.st[S_SKIP] = 0.0
        return WHY_NORMAL
    b.st[S_UP] += s.dt
    if b.st[S_UP] < b.par[UP_FOR] and b.st[S_SKIP] == 0.0:
        return WHY_NORMAL
    i = _next_on(b, s, False)
    if i < 0:
        return WHY_MIN_TIME if _next_on(b, s, True) >= 0 else WHY_LIMIT_HIGH
    _switch(b, i, 1.0)
    if _p(b, i)[P_STARTS] > 0.0:
        _u(b, i)[U_TOKENS] -= 1.0
    b.st[S_UP] = 0.0
    b.st[S_DOWN] = 0.0
    b.st[S_SKIP] = 0.0
    return WHY_NORMAL


cdef bint _spare(Block* b, Scan* s, double q, int i) noexcept nogil:
    # without unit i there is still room, and not so little that it would be started again at once
    cdef double c = _committed(b, s), cap = _p(b, i)[P_CAP]
    return q < c - cap * b.par[DOWN_SPARE] and q <= b.par[UP_ABOVE] * (c - cap)


cdef int _stage_down(Block* b, Scan* s, double q) noexcept nogil:
    cdef int i = _next_off(b, s, True)
    if i < 0 or not _spare(b, s, q, i):
        b.st[S_DOWN] = 0.0
        return WHY_NORMAL
    b.st[S_DOWN] += s.dt
    if b.st[S_DOWN] < b.par[DOWN_FOR]:
        return WHY_NORMAL
    i = _next_off(b, s, False)
    if i < 0 or not _spare(b, s, q, i):
        return WHY_MIN_TIME
    _switch(b, i, 0.0)
    b.st[S_DOWN] = 0.0
    b.st[S_UP] = 0.0
    return WHY_NORMAL


cdef void _obey_inhibits(Block* b, Scan* s) noexcept nogil:
    cdef int i
    for i in range(_n(b)):
        if (_u(b, i)[U_ON] != 0.0 and _u(b, i)[U_AWAY] == 0.0 and _inhibited(b, s, i)
                and _u(b, i)[U_SINCE] >= _p(b, i)[P_MIN_ON]):
            _switch(b, i, 0.0)


cdef double _fixed(Block* b, Scan* s) noexcept nogil:
    cdef int i
    cdef double c = 0.0
    for i in range(_n(b)):
        if _running(b, s, i):
            c += _p(b, i)[P_CAP]
    return c


cdef void _set_trim(Block* b, Scan* s, double q) noexcept nogil:
    cdef double f = b.par[TRIM_MIN]
    if b.par[TRIM_CAP] <= 0.0:
        b.st[S_TRIM] = 0.0
        return
    if not (ok(b, s, TRIM_INHIBIT) and val(b, s, TRIM_INHIBIT) > 0.5):
        f = clamp((q - b.st[S_FIXED]) / b.par[TRIM_CAP], f, 1.0)
    b.st[S_TRIM] = 100.0 * f


cdef double _delivers(Block* b, Scan* s) noexcept nogil:
    cdef double trim = b.st[S_TRIM]
    if answered(b, s, TRIM_CMD):
        trim = clamp(s.bv[b.out[TRIM_CMD]], 0.0, 100.0)
    return b.st[S_FIXED] + trim / 100.0 * b.par[TRIM_CAP]


cdef bint _unanswered(Block* b, Scan* s) noexcept nogil:
    # has anybody who takes a command of this block not said yet what it does now?
    cdef int i
    if b.par[TRIM_CAP] > 0.0 and s.bq[b.out[TRIM_CMD]] == 0:
        return True
    for i in range(_n(b)):
        if s.bq[b.out[CMD_1 + i]] == 0 and not ok(b, s, UNIT_IN + 2 * i):
            return True
    return False


cdef int _step(Block* b, Scan* s) except -1 nogil:
    # the scan after the one that nobody had answered yet adopts once more
    cdef bint first = b.st[S_STARTED] < 2.0, away = not_invited(b, s, TRIM_CMD), failed
    cdef bint waiting = b.st[S_STARTED] == 0.0 and _unanswered(b, s)
    cdef int i, why = WHY_NORMAL, down, mode = MODE_AUTO
    cdef double trim_cap
    cdef uint8_t q, q_in = stat(b, s, DEMAND)
    _age(b, s, first)
    failed = _failures(b, s)
    b.st[S_STARTED] = 1.0 if waiting else 2.0
    if ok(b, s, DEMAND):
        b.st[S_DEMAND] = val(b, s, DEMAND)
        b.st[S_SEEN] = 1.0
        q = worst(q_in, Q_GOOD)
        if not (away or waiting):
            _obey_inhibits(b, s)
            why = _stage_up(b, s, b.st[S_DEMAND])
            down = _stage_down(b, s, b.st[S_DEMAND])
            why = why if why != WHY_NORMAL else down
        mode = MODE_CASCADE if q_in >= QC_OK else MODE_AUTO
    else:
        # the running set and the trim stay as they are
        why = WHY_SETPOINT_BAD
        q = <uint8_t>(Q_UNC_LAST if b.st[S_SEEN] != 0.0 else Q_UNC_INITIAL)
    b.st[S_FIXED] = _fixed(b, s)
    if away or waiting or b.st[S_SEEN] == 0.0:
        mode = MODE_INITIALISING
        why = WHY_DOWNSTREAM if away or waiting else WHY_SETPOINT_BAD
        if answered(b, s, TRIM_CMD):
            b.st[S_TRIM] = clamp(s.bv[b.out[TRIM_CMD]], 0.0, 100.0)
        elif first:
            b.st[S_TRIM] = 100.0 * b.par[TRIM_MIN] if b.par[TRIM_CAP] > 0.0 else 0.0
        # before anybody has answered there is no command yet: bad status makes the output blocks hold
        q = <uint8_t>(Q_BAD if waiting else Q_UNC_INITIAL)
    else:
        _set_trim(b, s, b.st[S_DEMAND])
    if failed:
        why = WHY_FAIL_ACTION
    trim_cap = 0.0 if ok(b, s, TRIM_INHIBIT) and val(b, s, TRIM_INHIBIT) > 0.5 else b.par[TRIM_CAP]
    put(b, s, TRIM_CMD, b.st[S_TRIM], q)
    put(b, s, MODE, mode, Q_GOOD)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, CAPACITY, b.st[S_FIXED] + trim_cap, Q_GOOD)
    put(b, s, ACHIEVED, _delivers(b, s) if mode == MODE_INITIALISING
        else b.st[S_FIXED] + b.st[S_TRIM] / 100.0 * b.par[TRIM_CAP], Q_GOOD)
    for i in range(MAX_UNITS):
        put(b, s, CMD_1 + i, _u(b, i)[U_ON] if i < _n(b) else 0.0, q if i < _n(b) else <uint8_t>Q_BAD_NOT_CONNECTED)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    cdef double delivers = _delivers(b, s), f = b.st[S_TRIM] / 100.0
    cdef uint8_t bits = 0
    if not_invited(b, s, TRIM_CMD) or b.st[S_SEEN] == 0.0:
        answer(b, s, DEMAND, delivers, QC_NOT_INVITED)
        return 0
    if answered(b, s, TRIM_CMD):
        bits = s.bq[b.out[TRIM_CMD]] & 3
    if b.par[TRIM_CAP] <= 0.0:
        bits = LIM_HIGH if b.st[S_DEMAND] > delivers else (LIM_LOW if b.st[S_DEMAND] < delivers else 0)
    elif f >= 1.0:
        bits |= LIM_HIGH
    elif f <= b.par[TRIM_MIN]:
        bits |= LIM_LOW
    answer(b, s, DEMAND, delivers, <uint8_t>QC_OK | bits)
    return 0


register(Kind(
    "staging",
    inputs=("demand", "trim_inhibit?"), var_input="unit",
    outputs=("trim_cmd", "mode", "why", "capacity", "achieved_demand", "cmd_1", "cmd_2", "cmd_3", "cmd_4", "cmd_5",
             "cmd_6", "cmd_7", "cmd_8"),
    params=(("trim_capacity", 0.0), ("trim_min", 0.0), ("up_above", 0.95), ("up_for", 20.0), ("down_spare", 1.15),
            ("down_for", 90.0), ("rotate", 0.0), ("n_units", None)), var_param="unit",
    state=("started", "demand", "demand_seen", "up_for", "down_for", "trim", "fixed", "skip")
    + tuple(f"{word}_{i}" for i in range(1, MAX_UNITS + 1)
            for word in ("on", "since", "silent", "failed", "run_hours", "start_tokens", "away", "starts")),
    doc="""Duty and standby units of fixed size with one trim unit.

    unit inputs: a pair (running, inhibit) for each unit, either may stay unwired. unit parameters, five for each unit:
    capacity [as demand], min_on [s], min_off [s], starts_per_hour (0 = no limit), order. At most 8 units.

    C = trim_capacity + capacities commanded on
    up    when demand > up_above C for up_for s: next unit by order, fewest run hours with rotate = 1,
          fewest starts with rotate = 2
    down  when C - down_spare c > demand for down_for s and demand <= up_above (C - c), c = the unit to stop next
    trim_cmd = 100 % clamp((demand - capacities running) / trim_capacity, trim_min, 1)

    One unit a scan. min_on, min_off and starts_per_hour (a bucket of that many starts, refilled over an hour) always
    hold. Commanded on and not running for 10 s: failed, off for 600 s, the next unit does not wait for up_for. inhibit
    true: stopped as soon as min_on allows, not started. At the start and while a command is not taken the running
    feedback is adopted, clocks start. demand bad: everything stays. Answers demand with what is delivered.

    Source: duty/standby staging of compressor and pump sets, CAGI Compressed Air & Gas Handbook.""",
), _step, _back)
