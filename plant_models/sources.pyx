"""Data as plants: "data_player" plays a series in UTC; "market_data" and "weather_data" show what is true now.

A player gives the value of its sample (hold = 1) or a straight line between two samples. Before the first and after the
last sample it keeps the nearest one and says so: status uncertain, last usable value.
"""

from libc.math cimport floor

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:  # parameters of the player; then the samples
    T0, STEP, HOLD, VALUES


cdef int _play(Block* b, Scan* s) except -1 nogil:
    cdef int n = b.n_par - VALUES
    if n < 1:
        put(b, s, 0, 0.0, Q_BAD_CONFIG)
        return 0
    cdef double at = (s.utc - b.par[T0]) / b.par[STEP]
    cdef double last = n if b.par[HOLD] > 0.5 else n - 1
    cdef uint8_t status = Q_GOOD
    if not 0.0 <= at < last:
        status = Q_GOOD if at == last and b.par[HOLD] <= 0.5 else Q_UNC_LAST
        at = clamp(at, 0.0, n - 1)
    cdef int k = <int>floor(at)
    cdef double y = b.par[VALUES + k]
    if b.par[HOLD] <= 0.5 and k + 1 < n:
        y += (b.par[VALUES + k + 1] - y) * (at - k)
    put(b, s, 0, y, status)
    return 0


cdef int _show(Block* b, Scan* s) except -1 nogil:
    cdef int i
    for i in range(b.n_in):
        put(b, s, i, val(b, s, i), stat(b, s, i))
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


register(
    Kind(
        "data_player",
        outputs=("out",),
        params=(("t0", None), ("step", None), ("hold", 1.0)),
        var_param="sample",
        doc="Plays a series: t0 UTC s of the first sample, step s > 0, hold 1 = steps, 0 = straight lines, samples.",
    ),
    _play,
    _back,
)
register(
    Kind(
        "market_data",
        inputs=("day_ahead", "co2"),
        outputs=("price", "co2_intensity"),
        doc="The price, EUR/MWh, and the carbon intensity of grid power, g/kWh, that hold now.",
    ),
    _show,
    _back,
)
register(
    Kind(
        "weather_data",
        inputs=("irradiance", "ambient"),
        outputs=("irradiance_now", "ambient_now"),
        doc="Global irradiance on the module plane, W/m2, and outdoor temperature, degC, now.",
    ),
    _show,
    _back,
)
