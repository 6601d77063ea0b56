"""Window average: the mean over the billing interval of a meter (demand), and where it will end."""

from libc.math cimport exp, fabs, floor

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    X = 0
    LEFT
    COUNTER

cdef enum:
    LENGTH = 0
    FILTER
    TOLERANCE

cdef enum:
    W_STARTED = 0    # a window is being counted
    W_HAVE           # x was usable once
    W_POSITION       # s since the window began, own count
    W_E              # x-unit * s in the part seen
    W_SEEN           # s of this window that E covers
    W_PARTIAL        # 1: this window was not seen whole, or its start was moved
    W_PF             # filtered x
    W_GAP            # s since x went bad
    W_GAP_SEEN       # s of these in this window
    W_GAP_E          # what E holds for them
    W_SUBSTITUTED    # s of this window whose energy was not measured
    W_COUNTER_OK
    W_COUNTER        # counter at the last usable x

cdef double SECONDS_PER_HOUR = 3600.0


cdef inline double _reference(Block* b, Scan* s) noexcept nogil:
    # s since the window began by meter or calendar; -1 = the meter does not say
    cdef double length = b.par[LENGTH], left
    if not wired(b, LEFT):
        return s.utc - length * floor(s.utc / length)
    if not ok(b, s, LEFT):
        return -1.0
    left = val(b, s, LEFT)
    if left < 0.0 or left > length:
        return -1.0
    return length - left if left > 0.0 else 0.0


cdef inline void _new_window(Block* b) noexcept nogil:
    b.st[W_E] = 0.0
    b.st[W_SEEN] = 0.0
    b.st[W_PARTIAL] = 0.0
    b.st[W_GAP_SEEN] = 0.0
    b.st[W_GAP_E] = 0.0
    b.st[W_SUBSTITUTED] = 0.0


cdef inline void _add(Block* b, double x, double seconds, bint measured) noexcept nogil:
    cdef double e = b.st[W_E] + x * seconds
    b.st[W_SEEN] += seconds
    if not finite(e):
        b.st[W_SUBSTITUTED] += seconds
        return
    b.st[W_E] = e
    if not measured and seconds > 0.0:
        b.st[W_SUBSTITUTED] += seconds
        b.st[W_GAP_SEEN] += seconds
        if finite(b.st[W_GAP_E] + x * seconds):
            b.st[W_GAP_E] += x * seconds


cdef inline void _advance(Block* b, Scan* s, double x, bint measured) noexcept nogil:
    # count the scan that just passed, over the end of the window if it fell inside
    cdef double length = b.par[LENGTH], position = b.st[W_POSITION] + s.dt, rest
    if position < length - 1e-6:
        _add(b, x, s.dt, measured)
        b.st[W_POSITION] = position
        return
    rest = position - length * floor((position + 1e-6) / length)
    if rest < 0.0:
        rest = 0.0
    _new_window(b)
    _add(b, x, rest, measured)
    b.st[W_POSITION] = rest


cdef inline void _align(Block* b, Scan* s) noexcept nogil:
    cdef double length = b.par[LENGTH], at = _reference(b, s), off
    if at < 0.0:
        return
    off = at - b.st[W_POSITION]
    off -= length * floor(off / length + 0.5)
    if fabs(off) <= b.par[TOLERANCE]:
        return
    b.st[W_POSITION] = at
    b.st[W_PARTIAL] = 1.0
    if b.st[W_SEEN] > at:
        # the window began later than thought: its part of E by time
        b.st[W_E] *= at / b.st[W_SEEN]
        b.st[W_GAP_E] = 0.0
        b.st[W_GAP_SEEN] = 0.0
        b.st[W_SEEN] = at


cdef inline void _begin(Block* b, Scan* s) noexcept nogil:
    cdef double length = b.par[LENGTH], at = _reference(b, s)
    if at < 0.0:
        at = s.utc - length * floor(s.utc / length)
    _new_window(b)
    b.st[W_STARTED] = 1.0
    b.st[W_POSITION] = at
    b.st[W_PARTIAL] = 1.0 if at > s.dt else 0.0


cdef inline void _close_gap(Block* b, Scan* s) noexcept nogil:
    # x is back: what the meter counted meanwhile replaces what was assumed, shared out by time if windows changed
    cdef double counted = val(b, s, COUNTER) - b.st[W_COUNTER], e
    cdef double inside = s.dt if s.dt < b.st[W_POSITION] else b.st[W_POSITION]
    cdef double assumed = b.st[W_GAP_SEEN]
    # the counter's difference spans this scan too, which is measured
    b.st[W_GAP] += s.dt
    b.st[W_GAP_SEEN] += inside
    b.st[W_GAP_E] += val(b, s, X) * inside
    if not counted >= 0.0:
        return                               # the counter was reset
    e = b.st[W_E] - b.st[W_GAP_E] + counted * SECONDS_PER_HOUR * (b.st[W_GAP_SEEN] / b.st[W_GAP])
    if finite(e):
        b.st[W_E] = e
        b.st[W_SUBSTITUTED] -= assumed
        if b.st[W_SUBSTITUTED] < 1e-9:
            b.st[W_SUBSTITUTED] = 0.0


cdef inline void _measure(Block* b, Scan* s) noexcept nogil:
    # filtered x; on bad x it stays
    cdef double x, d
    if not ok(b, s, X):
        return
    x = val(b, s, X)
    d = x - b.st[W_PF]
    if b.st[W_HAVE] == 0.0 or b.par[FILTER] <= 0.0 or s.fresh or not finite(d):
        b.st[W_PF] = x
    else:
        b.st[W_PF] += (1.0 - exp(-s.dt / b.par[FILTER])) * d
    b.st[W_HAVE] = 1.0


cdef inline void _count(Block* b, Scan* s) noexcept nogil:
    cdef bint measured = ok(b, s, X)
    if b.st[W_STARTED] == 0.0:
        _begin(b, s)
    else:
        if not measured:
            b.st[W_GAP] += s.dt
        _advance(b, s, val(b, s, X) if measured else b.st[W_PF], measured)
        if measured and b.st[W_GAP] > 0.0 and b.st[W_COUNTER_OK] != 0.0 and ok(b, s, COUNTER):
            _close_gap(b, s)
        if s.fresh:
            b.st[W_SUBSTITUTED] += s.dt
        _align(b, s)
    if measured:
        b.st[W_GAP] = 0.0
        b.st[W_GAP_SEEN] = 0.0
        b.st[W_GAP_E] = 0.0
        b.st[W_COUNTER_OK] = 1.0 if ok(b, s, COUNTER) else 0.0
        b.st[W_COUNTER] = val(b, s, COUNTER) if ok(b, s, COUNTER) else 0.0


cdef inline void _give(Block* b, Scan* s, int i, double x, uint8_t q) noexcept nogil:
    if finite(x):
        put(b, s, i, x, q)
    else:
        put(b, s, i, 0.0, Q_BAD)


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef double length = b.par[LENGTH]
    cdef uint8_t q
    if b.st[W_STARTED] == 0.0 and not ok(b, s, X):
        q = stat(b, s, X) if stat(b, s, X) < 0x40 else <uint8_t>Q_BAD
        put(b, s, 0, 0.0, q)
        put(b, s, 1, 0.0, q)
        put(b, s, 2, 0.0, q)
        put(b, s, 3, 0.0, q)
        return 0
    _measure(b, s)
    _count(b, s)
    q = worst(stat(b, s, X), Q_GOOD) if ok(b, s, X) else <uint8_t>Q_UNC_LAST
    if b.st[W_PARTIAL] != 0.0:
        q = worst(q, Q_UNC_INITIAL)
    if b.st[W_SUBSTITUTED] > 0.0:
        q = worst(q, Q_UNC_SUBST)
    _give(b, s, 0, b.st[W_E] / b.st[W_SEEN] if b.st[W_SEEN] > 0.0 else b.st[W_PF], q)
    _give(b, s, 1, b.st[W_E] / length + b.st[W_PF] * (1.0 - b.st[W_SEEN] / length), q)
    _give(b, s, 2, b.st[W_SEEN], q)
    _give(b, s, 3, b.st[W_E] / SECONDS_PER_HOUR, q)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


def _words(n_in, n_par, params):
    if not params[LENGTH] > 0.0:
        raise ValueError(f"window_average: length {params[LENGTH]:g} s is not above 0")
    return 13


register(Kind(
    "window_average",
    inputs=("x", "left?", "counter?"), outputs=("avg", "forecast", "elapsed", "energy"),
    params=(("length", 900.0), ("filter", 60.0), ("resync_tol", 2.0)),
    state=("started", "have", "position", "e", "seen", "partial", "pf", "gap", "gap_seen", "gap_e", "substituted",
           "counter_ok", "counter"),
    state_size=_words,
    doc="""Mean of x over fixed windows of `length` [s], T, as a demand meter forms it.

    E = integral of x over the part seen; avg = E / elapsed; forecast = (E + Pf (T - elapsed)) / T with Pf = x filtered by `filter`
    [s]; energy = E / 3600 [x-unit * h]. elapsed [s] = part of the window seen: all of it but in the first, partial window.
    left [s] = seconds left in the meter's window: more than resync_tol [s] off the own count re-aligns (E keeps the mean of
    the part that still counts). Unwired: windows aligned to UTC. left unreadable: own count.
    Bad x: the last Pf counts and the window is uncertain. When x returns and counter [x-unit * h] was readable before and
    after, its difference replaces what was assumed.
    Status: x bad now 0x44, a window with assumed energy 0x48, one not seen whole 0x4C, else as x.
    Source: block-interval demand of IEC 62052/62053 electricity meters; FF-891 integrator block."""),
    _step, _back)
