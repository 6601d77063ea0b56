"""Roller-hearth heat-treatment furnace with its line PLC: kind "heat_treatment_furnace".

Four heat storages, K: element Te, load Tl, hot face T1, shell T2 (s = Stefan-Boltzmann constant):

    Ce Te' = P - s AeL (Te^4 - Tl^4) - s Aew (Te^4 - T1^4)
    Cl Tl' = s AeL (Te^4 - Tl^4) + s Awl (T1^4 - Tl^4) - m cp (Tl - Ta) - s Ad (Tl^4 - Ta^4)
    C1 T1' = s Aew (Te^4 - T1^4) - s Awl (T1^4 - Tl^4) - G (T1 - T2)
    C2 T2' = G (T1 - T2) - hA (T2 - Ta)

m is the product flow (belt rate), Ad the open door. Radiation exchange between grey diffuse surfaces by effective areas
(Incropera, Fundamentals of Heat and Mass Transfer, ch. 13). Around it: thyristor lag on the power, belt with lag and
ramp, thermocouples with lag, noise, drift and quantisation, and the state machine of the line.
"""

from libc.math cimport rint

from ext.abi cimport *
from ext.registry cimport Kind, register

from plant_models.noise cimport normal
from plant_models.rk4 cimport rk4, substeps

cdef double SIGMA = 5.670374419e-8  # W/(m2 K4), CODATA 2018
cdef double ZERO_C = 273.15         # K
cdef double H_MAX = 0.5             # s; the fastest lag is the thyristor's 2 s

cdef enum:  # state words
    TE, TL, T1, T2, POWER, BELT, TC, E_IN, E_WALL, E_PRODUCT, LINE, DRAWS, DRIFT, STARTED, POWER_CMD, BELT_CMD, RUN_CMD

cdef enum:  # parameters
    CE, CL, C1, C2, AEL, AEW, AWL, G, HA, CP, POWER_MAX, SCR_LAG, TC_LAG, BELT_LAG, BELT_RAMP, BELT_MAX, AMBIENT
    T_READY, T_RUN, T_TRIP, DOOR_AREA, NOISE, NOISE_BACKUP, RESOLUTION, DRIFT_RATE, SEED

cdef enum:  # inputs of deriv
    U_POWER, U_BELT, U_AMBIENT, U_DOOR

cdef enum:  # line states, as the PLC reports them
    STOPPED, HEATING, READY, RUNNING, FAULT


cdef inline double pow4(double x) noexcept nogil:
    x = x * x
    return x * x


cdef void _deriv(const double* x, const double* u, const double* p, double* dx) noexcept nogil:
    cdef double el = SIGMA * p[AEL] * (pow4(x[TE]) - pow4(x[TL]))
    cdef double ew = SIGMA * p[AEW] * (pow4(x[TE]) - pow4(x[T1]))
    cdef double wl = SIGMA * p[AWL] * (pow4(x[T1]) - pow4(x[TL]))
    cdef double through = p[G] * (x[T1] - x[T2])
    cdef double loss = p[HA] * (x[T2] - u[U_AMBIENT]) + SIGMA * u[U_DOOR] * (pow4(x[TL]) - pow4(u[U_AMBIENT]))
    cdef double product = x[BELT] / 3.6 * p[CP] * (x[TL] - u[U_AMBIENT])
    dx[TE] = (1e3 * x[POWER] - el - ew) / p[CE]
    dx[TL] = (el + wl - product - SIGMA * u[U_DOOR] * (pow4(x[TL]) - pow4(u[U_AMBIENT]))) / p[CL]
    dx[T1] = (ew - wl - through) / p[C1]
    dx[T2] = (through - p[HA] * (x[T2] - u[U_AMBIENT])) / p[C2]
    dx[POWER] = (u[U_POWER] - x[POWER]) / p[SCR_LAG]
    dx[BELT] = clamp((u[U_BELT] - x[BELT]) / p[BELT_LAG], -p[BELT_RAMP], p[BELT_RAMP])
    dx[TC] = (x[TL] - x[TC]) / p[TC_LAG]
    dx[E_IN] = x[POWER] / 3600.0
    dx[E_WALL] = loss / 3.6e6
    dx[E_PRODUCT] = product / 3.6e6


cdef int _line(int line, bint run, bint powered, double temp, const double* p) noexcept nogil:
    # 5 K of hysteresis downwards, so that a temperature on the edge does not make the line flutter
    if line == FAULT:
        return STOPPED if temp < p[T_TRIP] - 50.0 and not run else FAULT
    if temp >= p[T_TRIP]:
        return FAULT
    if line == RUNNING:
        if temp < p[T_RUN] - 5.0:
            return HEATING
        return RUNNING if run else READY
    if temp >= p[T_READY] - (5.0 if line == READY else 0.0):
        return RUNNING if line == READY and run and temp >= p[T_RUN] else READY
    return HEATING if powered else STOPPED


cdef void _start(Block* b) noexcept nogil:
    # cold: everything at the temperature of the hall
    b.st[TE] = b.st[TL] = b.st[T1] = b.st[T2] = b.st[TC] = b.par[AMBIENT] + ZERO_C
    b.st[STARTED] = 1.0


cdef void _read(Block* b, Scan* s) noexcept nogil:
    # a command that is not usable leaves the last one standing, as a PLC register does
    if ok(b, s, 0):
        b.st[POWER_CMD] = clamp(val(b, s, 0), 0.0, b.par[POWER_MAX])
    if ok(b, s, 1):
        b.st[BELT_CMD] = clamp(val(b, s, 1), 0.0, b.par[BELT_MAX])
    if ok(b, s, 2):
        b.st[RUN_CMD] = 1.0 if val(b, s, 2) >= 0.5 else 0.0


cdef double _sensor(Block* b, int signal, double kelvin, double noise) noexcept nogil:
    # a PLC input card of `resolution` K
    cdef double step = b.par[RESOLUTION]
    cdef double temp = kelvin - ZERO_C + noise * normal(b.par[SEED], signal, b.st[DRAWS])
    return rint(temp / step) * step if step > 0.0 else temp


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef double[4] u
    cdef double* x = b.st
    cdef double* p = b.par
    cdef int n, line
    if x[STARTED] == 0.0:
        _start(b)
    _read(b, s)
    cdef bint door = ok(b, s, 3) and val(b, s, 3) >= 0.5
    line = _line(<int>x[LINE], x[RUN_CMD] > 0.5, x[POWER_CMD] > 5.0, x[TC] - ZERO_C, p)
    x[LINE] = line
    u[U_POWER] = 0.0 if line == FAULT or door else x[POWER_CMD]
    u[U_BELT] = x[BELT_CMD] if line == RUNNING else 0.0
    u[U_AMBIENT] = ZERO_C + (val(b, s, 4) if ok(b, s, 4) else p[AMBIENT])
    u[U_DOOR] = p[DOOR_AREA] if door else 0.0
    n = substeps(s.dt, H_MAX)
    rk4(_deriv, x, LINE, u, p, s.dt / n, n)
    x[DRIFT] += p[DRIFT_RATE] * s.dt / 3.6e6
    x[DRAWS] += 1.0
    put(b, s, 0, _sensor(b, 0, x[TC] + x[DRIFT], p[NOISE]), Q_GOOD)
    put(b, s, 1, _sensor(b, 1, x[TC], p[NOISE_BACKUP]), Q_GOOD)
    put(b, s, 2, _sensor(b, 2, x[T2], p[NOISE]), Q_GOOD)
    put(b, s, 3, x[POWER], Q_GOOD)
    put(b, s, 4, x[BELT], Q_GOOD)
    put(b, s, 5, x[LINE], Q_GOOD)
    put(b, s, 6, 0.0 if door else 1.0, Q_GOOD)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


register(
    Kind(
        "heat_treatment_furnace",
        inputs=("power_cmd", "belt_cmd", "line_run_cmd", "door_open?", "ambient?"),
        outputs=("temp", "temp_backup", "shell_temp", "power", "belt_rate", "line_state", "door_closed"),
        params=(
            ("element_capacity", 60e3), ("load_capacity", 2.79e6), ("face_capacity", 4.5e6), ("shell_capacity", 6e6),
            ("area_element_load", 2.2), ("area_element_wall", 1.8), ("area_wall_load", 4.0),
            ("wall_conductance", 38.0), ("shell_conductance", 260.0), ("product_heat", 620.0),
            ("power_max", 320.0), ("power_lag", 2.0), ("temp_lag", 30.0), ("belt_lag", 5.0), ("belt_ramp", 0.02),
            ("belt_max", 1.5), ("ambient", 20.0), ("ready_temp", 840.0), ("run_temp", 845.0), ("trip_temp", 950.0),
            ("door_area", 0.25), ("noise", 0.3), ("noise_backup", 0.5), ("resolution", 0.1), ("drift", 0.0),
            ("seed", 0.0),
        ),
        state=(
            "element", "load", "face", "shell", "power", "belt", "thermocouple", "energy_in", "energy_wall",
            "energy_product", "line", "draws", "drift", "started", "power_cmd", "belt_cmd", "line_run_cmd",
        ),
        doc="Roller-hearth furnace. Inputs kW, t/h, bool, bool, degC; outputs degC (3), kW, t/h, 0 stopped 1 heating "
        "2 ready 3 running 4 fault, bool. Parameters J/K (4), m2 (3, with emissivity), W/K (2), J/(kg K), kW, s (3), "
        "t/h/s, t/h, degC (4), m2, K (3), K/1000 h, seed. States K (4), kW, t/h, K, kWh (3).",
    ),
    _step,
    _back,
)
