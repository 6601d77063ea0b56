"""Battery, PV and the grid connection with its billing meter: kind "battery_pv_grid".

    E' = eta ch - dis / eta - standby        P' = (P_cmd - P) / lag        (ch, dis >= 0: charge and discharge, AC side)
    grid = base_load + loads - pv - P

The battery's own management derates near its limits of state of charge. The first-order lag is integrated exactly over
each sub-step, charge and discharge apart, so that stored energy closes to rounding. The meter counts import (monotone)
and export, and shows the seconds left in the billing window, which starts at whole multiples of its length in UTC.
"""

from libc.math cimport exp, floor, log

from ext.abi cimport *
from ext.registry cimport Kind, register

from plant_models.rk4 cimport substeps

cdef double H_MAX = 1.0     # s; only the derating depends on it
cdef int FIRST_LOAD = 3

cdef enum:  # state words
    ENERGY, POWER, IMPORTED, EXPORTED, CHARGED, DISCHARGED, STANDBY_USED, STARTED, CMD

cdef enum:  # parameters
    CAPACITY, POWER_MAX, EFFICIENCY, STANDBY, LAG, SOC_MIN, SOC_MAX, DERATE_BAND, SOC_START, PV_MAX, WINDOW


cdef inline double _part(double a, double target, double lag, double t0, double t1) noexcept nogil:
    # integral of target + (a - target) exp(-t / lag) from t0 to t1
    return target * (t1 - t0) + (a - target) * lag * (exp(-t0 / lag) - exp(-t1 / lag))


cdef double _limited(const double* x, const double* p) noexcept nogil:
    # what the battery's management lets the inverter aim at, kW
    cdef double soc = x[ENERGY] / p[CAPACITY]
    cdef double up = clamp((soc - p[SOC_MIN]) / p[DERATE_BAND], 0.0, 1.0)
    cdef double down = clamp((p[SOC_MAX] - soc) / p[DERATE_BAND], 0.0, 1.0)
    return clamp(x[CMD], -p[POWER_MAX] * down, p[POWER_MAX] * up)


cdef double _advance(double* x, const double* p, double h) noexcept nogil:
    # one sub-step of the battery; returns its mean power, kW, + = discharge
    cdef double target = _limited(x, p)
    cdef double a = x[POWER]
    cdef double end = target + (a - target) * exp(-h / p[LAG])
    cdef double cross = h
    if a * end < 0.0:  # the power passes zero within the sub-step
        cross = p[LAG] * log((a - target) / -target)
    cdef double first = _part(a, target, p[LAG], 0.0, cross)
    cdef double second = _part(a, target, p[LAG], cross, h)
    cdef double dis = ((first if first > 0.0 else 0.0) + (second if second > 0.0 else 0.0)) / 3600.0
    cdef double ch = -((first if first < 0.0 else 0.0) + (second if second < 0.0 else 0.0)) / 3600.0
    # a battery gives no more than it holds and takes no more than fits, however long the step is
    cdef double most_dis = x[ENERGY] * p[EFFICIENCY]
    cdef double most_ch = (p[CAPACITY] - x[ENERGY]) / p[EFFICIENCY]
    if dis > most_dis or ch > most_ch:
        dis = most_dis if dis > most_dis else dis
        ch = most_ch if ch > most_ch else ch
        end = 0.0
    x[ENERGY] += p[EFFICIENCY] * ch - dis / p[EFFICIENCY]
    cdef double idle = p[STANDBY] * h / 3600.0
    idle = x[ENERGY] if idle > x[ENERGY] else idle
    x[ENERGY] = clamp(x[ENERGY] - idle, 0.0, p[CAPACITY])
    x[STANDBY_USED] += idle
    x[CHARGED] += ch
    x[DISCHARGED] += dis
    x[POWER] = end
    return (dis - ch) * 3600.0 / h


cdef double _loads(Block* b, Scan* s) noexcept nogil:
    cdef int i
    cdef double total = val(b, s, 1) if ok(b, s, 1) else 0.0
    for i in range(FIRST_LOAD, b.n_in):
        if ok(b, s, i):
            total += val(b, s, i)
    return total


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef double* x = b.st
    cdef double* p = b.par
    cdef int n = substeps(s.dt, H_MAX), k
    cdef double pv, load, net, h = s.dt / n
    if x[STARTED] == 0.0:
        x[ENERGY] = p[SOC_START] * p[CAPACITY]
        x[STARTED] = 1.0
    if ok(b, s, 0):  # a command that is not usable leaves the last one standing
        x[CMD] = clamp(val(b, s, 0), -p[POWER_MAX], p[POWER_MAX])
    pv = clamp(val(b, s, 2), 0.0, p[PV_MAX]) if ok(b, s, 2) else 0.0
    load = _loads(b, s)
    for k in range(n):
        net = (load - pv - _advance(x, p, h)) * h / 3600.0
        if net > 0.0:
            x[IMPORTED] += net
        else:
            x[EXPORTED] -= net
    put(b, s, 0, load - pv - x[POWER], Q_GOOD)
    put(b, s, 1, x[IMPORTED], Q_GOOD)
    cdef double end = s.utc + s.dt  # the outputs hold at the end of the step
    put(b, s, 2, p[WINDOW] - (end - p[WINDOW] * floor(end / p[WINDOW])), Q_GOOD)
    put(b, s, 3, pv, Q_GOOD)
    put(b, s, 4, 100.0 * x[ENERGY] / p[CAPACITY], Q_GOOD)
    put(b, s, 5, x[POWER], Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


register(
    Kind(
        "battery_pv_grid",
        inputs=(
            "bat_cmd", "base_load?", "pv_available?", "load_1?", "load_2?", "load_3?", "load_4?", "load_5?", "load_6?",
            "load_7?", "load_8?",
        ),
        outputs=("grid_power", "grid_energy", "window_left", "pv_power", "bat_soc", "bat_power"),
        params=(
            ("capacity", 400.0), ("power_max", 200.0), ("efficiency", 0.95), ("standby", 0.1), ("lag", 0.1),
            ("soc_min", 0.02), ("soc_max", 0.98), ("derate_band", 0.02), ("soc_start", 0.5), ("pv_max", 150.0),
            ("window", 900.0),
        ),
        state=(
            "energy", "power", "imported", "exported", "charged", "discharged", "standby_used", "started", "bat_cmd",
        ),
        doc="Battery, PV, grid meter. Inputs kW, battery + = discharge, loads + = consumption; outputs kW (+ = import), "
        "kWh imported, s, kW, %, kW. Parameters kWh, kW, 1 each way, kW, s, 1 (4), kW, s. States kWh, kW, kWh (5).",
    ),
    _step,
    _back,
)
