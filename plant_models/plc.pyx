"""What stands in for PLCs and for messages when loops and plants run as one program: kinds "plc_command" and "age"."""

from libc.stdint cimport int64_t

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    PLC_IN_FORCE = 0
    PLC_STARTED

cdef enum:
    PLC_INITIAL = 0
    PLC_FACTOR
    PLC_ZERO
    PLC_INVITED

cdef int64_t SECOND = 1000000000


cdef int _plc_step(Block* b, Scan* s) except -1 nogil:
    if b.st[PLC_STARTED] == 0.0:
        b.st[PLC_IN_FORCE] = b.par[PLC_INITIAL]
        b.st[PLC_STARTED] = 1.0
    if ok(b, s, 0):
        b.st[PLC_IN_FORCE] = val(b, s, 0)
    put(b, s, 0, (b.st[PLC_IN_FORCE] - b.par[PLC_ZERO]) / b.par[PLC_FACTOR], Q_GOOD)
    put(b, s, 1, b.st[PLC_IN_FORCE], QC_OK if b.par[PLC_INVITED] > 0.5 else QC_NOT_INVITED)
    return 0


cdef int _age_step(Block* b, Scan* s) except -1 nogil:
    if not ok(b, s, 0):
        put(b, s, 0, 0.0, Q_BAD_NOT_CONNECTED)
        return 0
    put(b, s, 0, <double>((s.now - s.t[b.inp[0]]) // SECOND), Q_GOOD)
    return 0


cdef int _no_back(Block* b, Scan* s) except -1 nogil:
    return 0


register(Kind(
    "plc_command",
    inputs=("cmd?",), outputs=("pin", "readback"),
    params=(("initial", None), ("factor", 1.0), ("zero", 0.0), ("invited", 1.0)), state=("in_force", "started"),
    doc="""A command register of a PLC that answers at once and never loses the engine.

    In force: cmd while it is usable, else the last one, `initial` [unit of cmd] before the first. readback = what is in force, with
    status QC_OK, or NOT_INVITED for a device that is never armed. pin = (in force - zero) / factor, in the unit of the plant.
    Source: the contract of ctrl.field.virtual_plc, without expiry and faults."""),
    _plc_step, _no_back)

register(Kind(
    "age",
    inputs=("since",), outputs=("out",),
    doc="""Whole seconds since the sample time of `since`; bad 0x08 and 0 while nothing has arrived. Source: ctrl.store."""),
    _age_step, _no_back)
