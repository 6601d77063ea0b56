"""Order book and finished-goods store: kind "order_book".

    stock' = produced - shipped'      an order becomes backlog at its due time and ships from stock as soon as there is any

Orders ship first come, first served. What is late now is the backlog; its integral over time is the lateness in t h.
Conservation: opening stock + produced = stock + shipped, at every instant.
"""

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:  # state words
    STOCK, BACKLOG, SHIPPED, LATE_TH, PRODUCED, NEXT, AHEAD_NEXT, AHEAD, STARTED

cdef enum:  # parameters; then (due utc s, quantity t) pairs, ascending
    OPENING, LOOK_AHEAD, ORDERS


cdef void _advance(Block* b, double until) noexcept nogil:
    # take every order due up to `until` into the backlog, and keep the sum of the orders due in the look-ahead
    cdef int n = (b.n_par - ORDERS) // 2
    cdef int k = <int>b.st[NEXT]
    cdef int j = <int>b.st[AHEAD_NEXT]
    while j < n and b.par[ORDERS + 2 * j] <= until + b.par[LOOK_AHEAD]:
        b.st[AHEAD] += b.par[ORDERS + 2 * j + 1]
        j += 1
    while k < n and b.par[ORDERS + 2 * k] <= until:
        b.st[BACKLOG] += b.par[ORDERS + 2 * k + 1]
        b.st[AHEAD] -= b.par[ORDERS + 2 * k + 1]
        k += 1
    b.st[NEXT] = k
    b.st[AHEAD_NEXT] = j


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef double* x = b.st
    cdef double made = 0.0, ship
    if x[STARTED] == 0.0:
        x[STOCK] = b.par[OPENING]
        x[STARTED] = 1.0
    if ok(b, s, 0):
        made = clamp(val(b, s, 0), 0.0, 1e3) * s.dt / 3600.0
    x[STOCK] += made
    x[PRODUCED] += made
    _advance(b, s.utc + s.dt)
    ship = x[BACKLOG] if x[BACKLOG] < x[STOCK] else x[STOCK]
    x[STOCK] -= ship
    x[BACKLOG] -= ship
    x[SHIPPED] += ship
    x[LATE_TH] += x[BACKLOG] * s.dt / 3600.0
    put(b, s, 0, x[STOCK], Q_GOOD)
    put(b, s, 1, clamp(x[AHEAD], 0.0, 1e9) * 86400.0 / b.par[LOOK_AHEAD], Q_GOOD)
    put(b, s, 2, x[BACKLOG], Q_GOOD)
    put(b, s, 3, x[SHIPPED], Q_GOOD)
    put(b, s, 4, x[LATE_TH], Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


register(
    Kind(
        "order_book",
        inputs=("produced",),
        outputs=("stock", "sales_rate", "late", "shipped", "late_th"),
        params=(("opening", 0.0), ("look_ahead", 604800.0)),
        var_param="due_and_quantity",
        state=(
            "stock", "backlog", "shipped", "late_th", "produced", "next", "ahead_next", "ahead", "started",
        ),
        doc="Order book. Input t/h; outputs t in stock, t/d due in the look-ahead, t late now, t shipped, t h late. "
        "Parameters t, s, then pairs (due UTC s, t) ascending in time. States t (3), t h, t, count (2), t.",
    ),
    _step,
    _back,
)
