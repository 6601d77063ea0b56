"""Compressed air of a press shop: one variable-speed and two fixed-speed compressors, kind "compressed_air".

Receiver p and net pn in bar absolute, speed n of the variable-speed compressor (1 = full), flows in m3/min free air:

    V1 p' = p0 (Qc - Q12) / 60      V2 pn' = p0 (Q12 - kl pn - Qd) / 60      n' = (n_cmd - n) / 2 s
    Q12 = 60 kv sign(d) (sqrt(|d| + e) - sqrt e),  d = p - pn                (dryer and filters, regularised at d = 0)

C1 takes (6 + 84 n) kW (1 + 0.07 (p - 8)); C2 and C3 are loaded, unloaded (blow-down, then idling) or stopped, with
star-delta start and a limit of starts an hour in their own controllers. Consumers have regulators: below 4 bar gauge
they get less.
"""

from libc.math cimport fabs, sqrt

from ext.abi cimport *
from ext.registry cimport Kind, register

from plant_models.noise cimport normal
from plant_models.rk4 cimport rk4, substeps

cdef double H_MAX = 0.1     # s; at zero flow the dryer is as fast as 0.05 s
cdef double EPS = 1e-4      # bar
cdef double START_TIME = 5.0    # s, star-delta
cdef double START_FACTOR = 1.8  # power while starting, x loaded
cdef double BAND = 0.2          # bar over which the compressors unload at their own pressure limit

cdef enum:  # state words
    P, PN, N, AIR_IN, AIR_OUT, PHASE2, TIMER2, STARTS2, PHASE3, TIMER3, STARTS3, DRAWS, STARTED, SPEED_CMD, LOAD2
    LOAD3, DEMAND

cdef enum:  # parameters
    V1, V2, KV, KL, P0, C1_FLOW, C1_IDLE, C1_SLOPE, FIXED_FLOW, FIXED_LOADED, FIXED_UNLOADED, BLOW_DOWN, IDLE_STOP
    STARTS_PER_HOUR, P_LIMIT, SLOPE, UNREGULATED, NOISE, PRESSURE, SEED

cdef enum:  # inputs of deriv
    U_SPEED, U_FIXED, U_DEMAND

cdef enum:  # phases of a fixed-speed compressor
    STOPPED, STARTING, LOADED, UNLOADING, IDLING


cdef inline double _allowed(double p, const double* par) noexcept nogil:
    # the compressors' own controllers unload them smoothly at the pressure limit
    return clamp((par[P_LIMIT] + 1.0 - p) / BAND, 0.0, 1.0)


cdef inline double _dryer(double d, double kv) noexcept nogil:
    cdef double q = 60.0 * kv * (sqrt(fabs(d) + EPS) - sqrt(EPS))
    return q if d >= 0.0 else -q


cdef void _deriv(const double* x, const double* u, const double* par, double* dx) noexcept nogil:
    cdef double supply = (par[C1_FLOW] * x[N] + u[U_FIXED]) * _allowed(x[P], par)
    cdef double q12 = _dryer(x[P] - x[PN], par[KV])
    cdef double gauge = x[PN] - 1.0 if x[PN] > 1.0 else 0.0
    cdef double regulated = u[U_DEMAND] * (1.0 - par[UNREGULATED]) * (gauge / 4.0 if gauge < 4.0 else 1.0)
    cdef double used = regulated + u[U_DEMAND] * par[UNREGULATED] * gauge / 6.3
    # leaks follow the absolute pressure (choked flow), down to an empty net
    cdef double leak = par[KL] * x[PN] * (gauge / 0.1 if gauge < 0.1 else 1.0)
    dx[P] = par[P0] * (supply - q12) / (60.0 * par[V1])
    dx[PN] = par[P0] * (q12 - leak - used) / (60.0 * par[V2])
    dx[N] = (u[U_SPEED] - x[N]) / 2.0
    dx[AIR_IN] = supply / 60.0
    dx[AIR_OUT] = (leak + used) / 60.0


cdef void _fixed(double* phase, double* timer, double* starts, bint load, double dt, const double* par) noexcept nogil:
    # starts: a bucket of allowed starts that fills at the permitted rate
    starts[0] = clamp(starts[0] + dt * par[STARTS_PER_HOUR] / 3600.0, 0.0, par[STARTS_PER_HOUR])
    timer[0] += dt
    if phase[0] == STOPPED:
        if load and starts[0] >= 1.0:
            starts[0] -= 1.0
            phase[0], timer[0] = STARTING, 0.0
    elif phase[0] == STARTING:
        if timer[0] >= START_TIME:
            phase[0], timer[0] = LOADED if load else UNLOADING, 0.0
    elif load:
        if phase[0] != LOADED:
            phase[0], timer[0] = LOADED, 0.0
    elif phase[0] == LOADED:
        phase[0], timer[0] = UNLOADING, 0.0
    elif phase[0] == UNLOADING and timer[0] >= par[BLOW_DOWN]:
        phase[0], timer[0] = IDLING, 0.0
    elif phase[0] == IDLING and timer[0] >= par[IDLE_STOP]:
        phase[0], timer[0] = STOPPED, 0.0


cdef double _fixed_power(double phase, double timer, double p, const double* par) noexcept nogil:
    cdef double loaded = par[FIXED_LOADED] * (1.0 + par[SLOPE] * (p - 8.0))
    if phase == STARTING:
        return START_FACTOR * par[FIXED_LOADED]
    if phase == LOADED:
        return par[FIXED_UNLOADED] + (loaded - par[FIXED_UNLOADED]) * _allowed(p, par)
    if phase == UNLOADING:
        return par[FIXED_UNLOADED] + (loaded - par[FIXED_UNLOADED]) * clamp(1.0 - timer / par[BLOW_DOWN], 0.0, 1.0)
    return par[FIXED_UNLOADED] if phase == IDLING else 0.0


cdef void _start(Block* b) noexcept nogil:
    b.st[P] = b.par[PRESSURE] + 1.0
    b.st[PN] = b.par[PRESSURE] + 1.0
    b.st[STARTS2] = b.par[STARTS_PER_HOUR]
    b.st[STARTS3] = b.par[STARTS_PER_HOUR]
    b.st[STARTED] = 1.0


cdef void _read(Block* b, Scan* s) noexcept nogil:
    # a command that is not usable leaves the last one standing, as a PLC register does
    cdef double speed
    if ok(b, s, 0):
        speed = val(b, s, 0)
        b.st[SPEED_CMD] = 0.0 if speed < 1.0 else clamp(speed, 25.0, 100.0)
    if ok(b, s, 1):
        b.st[LOAD2] = 1.0 if val(b, s, 1) >= 0.5 else 0.0
    if ok(b, s, 2):
        b.st[LOAD3] = 1.0 if val(b, s, 2) >= 0.5 else 0.0
    if ok(b, s, 3):
        b.st[DEMAND] = clamp(val(b, s, 3), 0.0, 1e3)


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef double[3] u
    cdef double* x = b.st
    cdef double* par = b.par
    cdef int n
    cdef double p1, p2, p3
    if x[STARTED] == 0.0:
        _start(b)
    _read(b, s)
    _fixed(&x[PHASE2], &x[TIMER2], &x[STARTS2], x[LOAD2] > 0.5, s.dt, par)
    _fixed(&x[PHASE3], &x[TIMER3], &x[STARTS3], x[LOAD3] > 0.5, s.dt, par)
    u[U_SPEED] = x[SPEED_CMD] / 100.0
    u[U_FIXED] = par[FIXED_FLOW] * ((x[PHASE2] == LOADED) + (x[PHASE3] == LOADED))
    u[U_DEMAND] = x[DEMAND]
    n = substeps(s.dt, H_MAX)
    rk4(_deriv, x, PHASE2, u, par, s.dt / n, n)
    x[DRAWS] += 1.0
    p1 = (par[C1_IDLE] * clamp(4.0 * x[N], 0.0, 1.0) + par[C1_SLOPE] * x[N]) * (1.0 + par[SLOPE] * (x[P] - 8.0))
    p2 = _fixed_power(x[PHASE2], x[TIMER2], x[P], par)
    p3 = _fixed_power(x[PHASE3], x[TIMER3], x[P], par)
    put(b, s, 0, x[PN] - 1.0 + par[NOISE] * normal(par[SEED], 0, x[DRAWS]), Q_GOOD)
    put(b, s, 1, _dryer(x[P] - x[PN], par[KV]), Q_GOOD)
    put(b, s, 2, p1, Q_GOOD)
    # running is the on-load contact: a motor that idles delivers nothing
    put(b, s, 3, 1.0 if x[PHASE2] == LOADED else 0.0, Q_GOOD)
    put(b, s, 4, 1.0 if x[PHASE3] == LOADED else 0.0, Q_GOOD)
    put(b, s, 5, p1 + p2 + p3, Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


register(
    Kind(
        "compressed_air",
        inputs=("c1_speed_cmd", "c2_load_cmd", "c3_load_cmd", "demand"),
        outputs=("net_pressure", "air_flow", "c1_power", "c2_running", "c3_running", "power"),
        params=(
            ("receiver_volume", 6.0), ("net_volume", 4.0), ("dryer", 0.9), ("leak", 0.35), ("p0", 1.0),
            ("c1_flow", 16.0), ("c1_idle", 6.0), ("c1_slope", 84.0), ("fixed_flow", 10.4), ("fixed_loaded", 65.0),
            ("fixed_unloaded", 16.0), ("blow_down", 40.0), ("idle_stop", 120.0), ("starts_per_hour", 6.0),
            ("pressure_limit", 8.5), ("power_slope", 0.07), ("unregulated", 0.0), ("noise", 0.005), ("pressure", 6.3),
            ("seed", 0.0),
        ),
        state=(
            "receiver", "net", "speed", "air_in", "air_out", "c2_phase", "c2_timer", "c2_starts", "c3_phase",
            "c3_timer", "c3_starts", "draws", "started", "c1_speed_cmd", "c2_load_cmd",
            "c3_load_cmd", "demand",
        ),
        doc="Compressed air net. Inputs % (0 = off, else 25..100), bool (2), m3/min; outputs bar gauge, m3/min "
        "through the dryer, kW, bool (2, on load), kW in all. Parameters m3 (2), m3/s/sqrt(bar), m3/min/bar, bar, "
        "m3/min, kW (2), m3/min, kW (2), s (2), 1/h, bar gauge, 1/bar, share, bar, bar gauge, seed. "
        "States bar absolute (2), 1, m3 (2), phases and s and starts, the last commands.",
    ),
    _step,
    _back,
)
