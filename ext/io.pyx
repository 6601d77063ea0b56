"""Input and output blocks: ai, di, ao, do. They stand between the points of a device and everything else."""

from libc.math cimport fabs, floor

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef double NO_LIMIT = 1e300  # a range limit beyond this means "no limit on this side"


cdef int _no_back(Block* b, Scan* s) except -1 nogil:
    return 0


cdef inline void _put_sampled(Block* b, Scan* s, double x, uint8_t q) noexcept nogil:
    # inputs keep the time of the raw sample: age is counted from the measurement, not from the scan
    put(b, s, 0, x, q)
    if b.inp[0] >= 0:
        s.t[b.out[0]] = s.t[b.inp[0]]


cdef inline uint8_t _why_bad(Block* b, Scan* s, int i) noexcept nogil:
    # status of an input that is not ok(): its own, or "sensor failure" when it says good but is no number
    cdef uint8_t q = stat(b, s, i)
    return q if q < 0x40 else <uint8_t>Q_BAD_SENSOR


# ------------------------------------------------------------------------------------------------ analogue input
cdef enum:
    AI_LO = 0
    AI_HI
    AI_EDGE
    AI_RATE
    AI_EPS
    AI_FREEZE

cdef enum:
    AI_HAVE = 0
    AI_LAST          # last value passed on
    AI_SEEN          # sample time of the last value passed on, ns
    AI_JUMPED        # 1 while one jump is held back
    AI_JUMP_T        # sample time of the held jump, ns
    AI_ANCHOR        # value the freeze check compares with
    AI_SAME          # s without movement


cdef inline uint8_t _range(Block* b, double x) noexcept nogil:
    cdef double lo = b.par[AI_LO], hi = b.par[AI_HI], margin = 0.0
    if x >= lo and x <= hi:
        return Q_GOOD
    if fabs(lo) < NO_LIMIT and fabs(hi) < NO_LIMIT:
        margin = b.par[AI_EDGE] * (hi - lo)
    return Q_UNC_RANGE if x >= lo - margin and x <= hi + margin else Q_BAD_SENSOR


cdef inline bint _jumps(Block* b, Scan* s, double x) noexcept nogil:
    # True: hold this sample back. One jump is held, the next new sample is believed whatever it says.
    cdef double t = <double>s.t[b.inp[0]], span = s.dt
    cdef bint same_sample
    if b.par[AI_RATE] <= 0.0 or b.st[AI_HAVE] == 0.0 or s.fresh:
        b.st[AI_JUMPED] = 0.0
        return False
    if b.st[AI_JUMPED] != 0.0:
        same_sample = t > 0.0 and t == b.st[AI_JUMP_T]      # polled slower than scanned
        if not same_sample:
            b.st[AI_JUMPED] = 0.0
        return same_sample
    if t > 0.0 and (t - b.st[AI_SEEN]) * 1e-9 > span:
        span = (t - b.st[AI_SEEN]) * 1e-9
    if fabs(x - b.st[AI_LAST]) > b.par[AI_RATE] * span:
        b.st[AI_JUMPED] = 1.0
        b.st[AI_JUMP_T] = t
        return True
    return False


cdef inline bint _frozen(Block* b, Scan* s, double x) noexcept nogil:
    if b.par[AI_EPS] <= 0.0:
        return False
    if b.st[AI_HAVE] == 0.0 or s.fresh or not fabs(x - b.st[AI_ANCHOR]) < b.par[AI_EPS]:
        b.st[AI_ANCHOR] = x
        b.st[AI_SAME] = 0.0
        return False
    b.st[AI_SAME] += s.dt
    return b.st[AI_SAME] >= b.par[AI_FREEZE] - 1e-9


cdef int _ai_step(Block* b, Scan* s) except -1 nogil:
    cdef double x
    cdef uint8_t q, own
    if not ok(b, s, 0):
        b.st[AI_JUMPED] = 0.0
        _put_sampled(b, s, b.st[AI_LAST], _why_bad(b, s, 0))
        return 0
    x = val(b, s, 0)
    own = _range(b, x)
    if own == Q_BAD_SENSOR:
        b.st[AI_JUMPED] = 0.0
        _put_sampled(b, s, b.st[AI_LAST], own)
        return 0
    if _jumps(b, s, x):
        _put_sampled(b, s, b.st[AI_LAST], worst(stat(b, s, 0), Q_UNC_LAST))
        return 0
    if _frozen(b, s, x):
        own = worst(own, Q_UNC_CONVERSION)
    b.st[AI_HAVE] = 1.0
    b.st[AI_LAST] = x
    b.st[AI_SEEN] = <double>s.t[b.inp[0]]
    q = stat(b, s, 0)
    _put_sampled(b, s, x, own if own < Q_GOOD and own < (q & 0xFC) else q)
    return 0


register(Kind(
    "ai",
    inputs=("raw",), outputs=("out",),
    params=(("valid_lo", -1e308), ("valid_hi", 1e308), ("edge", 0.02), ("max_rate", 0.0), ("freeze_eps", 0.0),
            ("freeze_time", 600.0)),
    state=("have", "last", "seen", "jumped", "jump_t", "anchor", "same"),
    doc="""Analogue input: checks of one measurement. out = raw, in the unit of the point.

    valid_lo, valid_hi  [unit]   inside: as raw. Outside by up to edge * (valid_hi - valid_lo): passed, uncertain 0x54 (only when
                                 both limits are given). Further out: bad sensor 0x10, the last usable value is kept.
    max_rate            [unit/s] |raw - last| > max_rate * (time between the samples): one such sample is held back (last value,
                                 0x44); the next new sample is accepted. 0 = off.
    freeze_eps, freeze_time [unit, s]  less movement than freeze_eps for freeze_time: uncertain 0x50. 0 = off.
    A bad raw passes its status with the last usable value; a non-finite raw is a bad sensor. The output carries the time of
    the raw sample. Source: FF-891 analogue input block; NAMUR NE 43 (range), EPICS ai record (SMOO, HIHI severities)."""),
    _ai_step, _no_back)


# ------------------------------------------------------------------------------------------------ discrete input
cdef enum:
    DI_HAVE = 0
    DI_LAST
    DI_COUNT


cdef int _di_step(Block* b, Scan* s) except -1 nogil:
    cdef double x
    if not ok(b, s, 0):
        b.st[DI_COUNT] = 0.0
        _put_sampled(b, s, b.st[DI_LAST], _why_bad(b, s, 0))
        return 0
    x = 1.0 if (val(b, s, 0) > 0.5) != (b.par[0] > 0.5) else 0.0
    if b.st[DI_HAVE] == 0.0 or s.fresh or x == b.st[DI_LAST]:
        b.st[DI_HAVE] = 1.0
        b.st[DI_LAST] = x
        b.st[DI_COUNT] = 0.0
    else:
        b.st[DI_COUNT] += 1.0
        if b.st[DI_COUNT] >= b.par[1]:
            b.st[DI_LAST] = x
            b.st[DI_COUNT] = 0.0
    _put_sampled(b, s, b.st[DI_LAST], stat(b, s, 0))
    return 0


register(Kind(
    "di",
    inputs=("raw",), outputs=("out",), params=(("invert", 0.0), ("debounce", 0.0)), state=("have", "last", "count"),
    doc="""Discrete input. out = (raw > 0.5) xor invert, as 0 or 1.

    debounce [scans]  the new state must be seen this many scans in a row before out changes (0 and 1: at once).
    A bad raw passes its status with the last state and restarts the count. Source: FF-891 discrete input block."""),
    _di_step, _no_back)


# ------------------------------------------------------------------------------------------------ outputs: common
cdef enum:
    CMD = 0
    READBACK = 1
    STATE = 2
    LINK = 3

cdef enum:
    LINK_LOST = -1
    DISARMED = 0
    SHADOW = 1
    ARMED = 2


cdef inline int _gate(Block* b, Scan* s) noexcept nogil:
    # may this output be moved? An unreadable gate state counts as disarmed, an unreadable link as lost.
    cdef int level = ARMED
    cdef double x
    if wired(b, STATE):
        level = DISARMED
        if ok(b, s, STATE):
            x = val(b, s, STATE)
            level = ARMED if x >= 1.5 else (SHADOW if x >= 0.5 else DISARMED)
    if level != DISARMED and wired(b, LINK) and not (ok(b, s, LINK) and val(b, s, LINK) > 0.5):
        return LINK_LOST
    return level


cdef inline bint _must_wait(Block* b, Scan* s, int level, bint entering) noexcept nogil:
    # never the first write to a device before a good read of the same point
    return level == ARMED and entering and wired(b, READBACK) and not ok(b, s, READBACK)


cdef inline bint _stale(Block* b, Scan* s, double since) noexcept nogil:
    # the command of a slower task is older than our return: its loop has not seen yet what the device holds
    return since != 0.0 and <double>s.t[b.inp[CMD]] == since


cdef inline uint8_t _taken_away(Block* b, Scan* s, int level) noexcept nogil:
    # what the device itself says about its command: 0, or the status with which it does not take it from us.
    # In shadow nothing is written, so nothing can be refused.
    cdef uint8_t q = stat(b, s, READBACK) & 0xFC
    return q if level == ARMED and (q == QC_NOT_INVITED or q == QC_LOCAL_OVERRIDE) else 0


# ------------------------------------------------------------------------------------------------ analogue output
cdef enum:
    AO_LO = 0
    AO_HI
    AO_RATE
    AO_DEADBAND
    AO_QUANTUM
    AO_FAIL_IS_VALUE
    AO_FAIL_VALUE
    AO_FAULT_TIME

cdef enum:
    AO_HAVE = 0      # 1: x is known
    AO_X             # position of the rate limiter, before deadband and quantum
    AO_Y             # the value given out
    AO_LEVEL         # gate level of the last scan in which commands were taken, else 0
    AO_BAD           # s since the command went bad
    AO_ACHIEVED
    AO_ANSWER
    AO_SINCE         # time of the command at which the output came into its level, ns


cdef inline double _quantise(Block* b, double x) noexcept nogil:
    # nearest multiple that lies inside the limits
    cdef double step = b.par[AO_QUANTUM], lo = b.par[AO_LO], hi = b.par[AO_HI], y
    if step <= 0.0:
        return x
    y = step * floor(x / step + 0.5)
    if not finite(y):
        return x
    if y > hi + 1e-9 * step:
        y -= step
    elif y < lo - 1e-9 * step:
        y += step
    return clamp(y, lo, hi)


cdef inline void _ao_emit(Block* b, Scan* s, uint8_t q, uint8_t answer_q, bint virtual) noexcept nogil:
    cdef uint8_t qa = q
    b.st[AO_ACHIEVED] = b.st[AO_Y]
    b.st[AO_ANSWER] = <double>answer_q
    if ok(b, s, READBACK) and not virtual:
        b.st[AO_ACHIEVED] = val(b, s, READBACK)
        qa = stat(b, s, READBACK)
    put(b, s, 0, b.st[AO_Y], q)
    put(b, s, 1, b.st[AO_ACHIEVED], qa)


cdef inline void _ao_track(Block* b, Scan* s, uint8_t q, uint8_t answer_q) noexcept nogil:
    cdef double x = b.st[AO_X]
    if ok(b, s, READBACK):
        x = val(b, s, READBACK)
        b.st[AO_HAVE] = 1.0
    elif ok(b, s, CMD):
        x = val(b, s, CMD)
        b.st[AO_HAVE] = 1.0
    b.st[AO_X] = clamp(x, b.par[AO_LO], b.par[AO_HI])
    b.st[AO_Y] = _quantise(b, b.st[AO_X])
    b.st[AO_LEVEL] = 0.0
    b.st[AO_BAD] = 0.0
    _ao_emit(b, s, q, answer_q, False)


cdef inline uint8_t _ao_move(Block* b, Scan* s, double target) noexcept nogil:
    # rate limit, then deadband, then quantum; returns the limit bits of the rate limiter
    cdef double x = b.st[AO_X], step = b.par[AO_RATE] * s.dt
    cdef uint8_t bits = LIM_NONE
    if b.par[AO_RATE] > 0.0 and target - x > step:
        x += step
        bits = LIM_HIGH
    elif b.par[AO_RATE] > 0.0 and x - target > step:
        x -= step
        bits = LIM_LOW
    else:
        x = target
    b.st[AO_X] = x
    # an end stop is always reached exactly: closed means closed, also inside the deadband
    if fabs(x - b.st[AO_Y]) > b.par[AO_DEADBAND] or x == b.par[AO_LO] or x == b.par[AO_HI]:
        b.st[AO_Y] = _quantise(b, x)
    return bits


cdef int _ao_step(Block* b, Scan* s) except -1 nogil:
    cdef double lo = b.par[AO_LO], hi = b.par[AO_HI], target
    cdef int level = _gate(b, s)
    cdef bint entering = b.st[AO_LEVEL] < level or s.fresh
    cdef bint cmd_ok = ok(b, s, CMD), failing, fail_value
    cdef uint8_t bits
    if level <= 0 or _must_wait(b, s, level, entering):
        _ao_track(b, s, Q_BAD_NO_COMMS_LAST if level == LINK_LOST else Q_BAD_OOS, QC_NOT_INVITED)
        return 0
    if _taken_away(b, s, level):
        _ao_track(b, s, Q_BAD_OOS, _taken_away(b, s, level))
        return 0
    b.st[AO_BAD] = 0.0 if cmd_ok else b.st[AO_BAD] + s.dt
    failing = not cmd_ok and b.st[AO_BAD] >= b.par[AO_FAULT_TIME] - 1e-9
    fail_value = failing and b.par[AO_FAIL_IS_VALUE] > 0.5
    b.st[AO_LEVEL] = <double>level
    if entering:
        b.st[AO_SINCE] = <double>s.t[b.inp[CMD]]
    if ok(b, s, READBACK) and (entering or (cmd_ok and _stale(b, s, b.st[AO_SINCE]))):
        b.st[AO_X] = clamp(val(b, s, READBACK), lo, hi)
        b.st[AO_Y] = _quantise(b, b.st[AO_X])
        b.st[AO_HAVE] = 1.0
        _ao_emit(b, s, Q_GOOD if cmd_ok else Q_UNC_LAST, QC_OK | LIM_CONST, level == SHADOW)
        return 0
    if b.st[AO_HAVE] == 0.0:
        if not (cmd_ok or fail_value):
            b.st[AO_Y] = _quantise(b, clamp(0.0, lo, hi))
            _ao_emit(b, s, Q_BAD_OOS, QC_NOT_INVITED, level == SHADOW)      # nothing is known: nothing to write
            return 0
        b.st[AO_HAVE] = 1.0
        b.st[AO_X] = clamp(val(b, s, CMD) if cmd_ok else b.par[AO_FAIL_VALUE], lo, hi)
        b.st[AO_Y] = _quantise(b, b.st[AO_X])
    if cmd_ok:
        target = clamp(val(b, s, CMD), lo, hi)
        bits = _ao_move(b, s, target)
        if val(b, s, CMD) > hi:
            bits = LIM_HIGH
        elif val(b, s, CMD) < lo:
            bits = LIM_LOW
        _ao_emit(b, s, Q_GOOD, <uint8_t>(QC_OK | bits), level == SHADOW)
        return 0
    _ao_move(b, s, clamp(b.par[AO_FAIL_VALUE], lo, hi) if fail_value else b.st[AO_X])
    _ao_emit(b, s, Q_UNC_SUBST if failing else Q_UNC_LAST, QC_FAULT_STATE if failing else (QC_OK | LIM_CONST),
             level == SHADOW)
    return 0


cdef int _ao_back(Block* b, Scan* s) except -1 nogil:
    answer(b, s, CMD, b.st[AO_ACHIEVED], <uint8_t>b.st[AO_ANSWER])
    return 0


register(Kind(
    "ao",
    inputs=("cmd", "readback?", "state?", "link?"), outputs=("out", "achieved"),
    params=(("lo", None), ("hi", None), ("rate", 0.0), ("deadband", 0.0), ("quantum", 0.0), ("fail_is_value", None),
            ("fail_value", 0.0), ("fault_time", 3.0)),
    state=("have", "x", "y", "level", "bad", "achieved", "answer", "since"),
    doc="""Analogue output: everything numeric that happens to a command before it is written.

    Order: clamp to lo..hi [unit] -> rate [unit/s, 0 off] -> deadband [unit]: the last value is kept unless it would move by more
    (an end stop is always reached exactly) -> quantum [unit]: nearest multiple inside lo..hi.
    One step of out is at most rate*dt + deadband + quantum.
    state: 0 disarmed, 1 shadow, 2 armed; unwired = armed; unreadable = disarmed. link: device reachable; unreadable = lost.
    Disarmed or link lost: tracks readback (else the command); out is 0x1C or 0x14: not to be written. The first scan of shadow
    or armed, and a fresh scan, start at the readback (bumpless); so does the scan after a device that did not take the
    command: while armed and the readback says NOT_INVITED or LOCAL_OVERRIDE the readback is tracked, out is 0x1C. A wired
    readback must be usable before the first armed output. The readback is kept until the command is newer than the return.
    cmd bad: hold (0x44) for fault_time [s], then the fail action (0x48): fail_value at the rate, or hold.
    achieved = readback while usable, else own out; own out in shadow. Backward to cmd: achieved with QC_OK and limit bits while
    clamped or rate limited, NOT_INVITED (LOCAL_OVERRIDE where the readback says so) while tracking, FAULT_STATE in the fail action.
    Source: FF-891 analogue output block (fault state, IEC 61158 status byte); Astrom and Hagglund, Advanced PID Control, ch. 3
    (limits fed back to the controller)."""),
    _ao_step, _ao_back)


# ------------------------------------------------------------------------------------------------ discrete output
cdef enum:
    DO_FAIL_IS_VALUE = 0
    DO_FAIL_VALUE
    DO_FAULT_TIME

cdef enum:
    DO_HAVE = 0
    DO_Y
    DO_LEVEL
    DO_BAD
    DO_ACHIEVED
    DO_ANSWER
    DO_SINCE


cdef inline double _truth(double x) noexcept nogil:
    return 1.0 if x > 0.5 else 0.0


cdef inline void _do_emit(Block* b, Scan* s, uint8_t q, uint8_t answer_q, bint virtual) noexcept nogil:
    cdef uint8_t qa = q
    b.st[DO_ACHIEVED] = b.st[DO_Y]
    b.st[DO_ANSWER] = <double>answer_q
    if ok(b, s, READBACK) and not virtual:
        b.st[DO_ACHIEVED] = _truth(val(b, s, READBACK))
        qa = stat(b, s, READBACK)
    put(b, s, 0, b.st[DO_Y], q)
    put(b, s, 1, b.st[DO_ACHIEVED], qa)


cdef inline void _do_track(Block* b, Scan* s, uint8_t q, uint8_t answer_q) noexcept nogil:
    if ok(b, s, READBACK):
        b.st[DO_Y] = _truth(val(b, s, READBACK))
        b.st[DO_HAVE] = 1.0
    elif ok(b, s, CMD):
        b.st[DO_Y] = _truth(val(b, s, CMD))
        b.st[DO_HAVE] = 1.0
    b.st[DO_LEVEL] = 0.0
    b.st[DO_BAD] = 0.0
    _do_emit(b, s, q, answer_q, False)


cdef int _do_step(Block* b, Scan* s) except -1 nogil:
    cdef int level = _gate(b, s)
    cdef bint entering = b.st[DO_LEVEL] < level or s.fresh
    cdef bint cmd_ok = ok(b, s, CMD), failing, fail_value
    if level <= 0 or _must_wait(b, s, level, entering):
        _do_track(b, s, Q_BAD_NO_COMMS_LAST if level == LINK_LOST else Q_BAD_OOS, QC_NOT_INVITED)
        return 0
    if _taken_away(b, s, level):
        _do_track(b, s, Q_BAD_OOS, _taken_away(b, s, level))
        return 0
    b.st[DO_BAD] = 0.0 if cmd_ok else b.st[DO_BAD] + s.dt
    failing = not cmd_ok and b.st[DO_BAD] >= b.par[DO_FAULT_TIME] - 1e-9
    fail_value = failing and b.par[DO_FAIL_IS_VALUE] > 0.5
    b.st[DO_LEVEL] = <double>level
    if entering:
        b.st[DO_SINCE] = <double>s.t[b.inp[CMD]]
    if ok(b, s, READBACK) and (entering or (cmd_ok and _stale(b, s, b.st[DO_SINCE]))):
        b.st[DO_Y] = _truth(val(b, s, READBACK))
        b.st[DO_HAVE] = 1.0
        _do_emit(b, s, Q_GOOD if cmd_ok else Q_UNC_LAST, QC_OK | LIM_CONST, level == SHADOW)
        return 0
    if cmd_ok:
        b.st[DO_Y] = _truth(val(b, s, CMD))
        b.st[DO_HAVE] = 1.0
        _do_emit(b, s, Q_GOOD, QC_OK, level == SHADOW)
        return 0
    if fail_value:
        b.st[DO_Y] = _truth(b.par[DO_FAIL_VALUE])
        b.st[DO_HAVE] = 1.0
    if b.st[DO_HAVE] == 0.0:
        _do_emit(b, s, Q_BAD_OOS, QC_NOT_INVITED, level == SHADOW)
        return 0
    _do_emit(b, s, Q_UNC_SUBST if failing else Q_UNC_LAST, QC_FAULT_STATE if failing else (QC_OK | LIM_CONST),
             level == SHADOW)
    return 0


cdef int _do_back(Block* b, Scan* s) except -1 nogil:
    answer(b, s, CMD, b.st[DO_ACHIEVED], <uint8_t>b.st[DO_ANSWER])
    return 0


register(Kind(
    "do",
    inputs=("cmd", "readback?", "state?", "link?"), outputs=("out", "achieved"),
    params=(("fail_is_value", None), ("fail_value", 0.0), ("fault_time", 3.0)),
    state=("have", "y", "level", "bad", "achieved", "answer", "since"),
    doc="""Discrete output: ao for a bool. out = cmd > 0.5, as 0 or 1.

    The pins, the tracking of readback, the first scan, the hold for fault_time [s], the fail action and the backward answers are
    those of ao; there is no limit to be at, so limit bits mean "held" only. Source: FF-891 discrete output block."""),
    _do_step, _do_back)
