# The contract between the program (ext/program.pyx) and every compiled block and plant.
#
# A block is a pair of C functions over plain arrays: no Python object, no clock, no I/O, no allocation.
# step():     forward pass. Reads image slots, writes its output slots (value, status, time).
# backward(): backward pass. Writes "achieved value + status" of the slots it consumes into bv/bq.
# Both return 0, or -1 for "this block is broken" (the program then trips the process).
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    # status byte, FOUNDATION Fieldbus layout: bits 7-6 quality, 5-2 sub-status, 1-0 limits
    Q_BAD = 0x00
    Q_BAD_CONFIG = 0x04
    Q_BAD_NOT_CONNECTED = 0x08
    Q_BAD_DEVICE = 0x0C
    Q_BAD_SENSOR = 0x10
    Q_BAD_NO_COMMS_LAST = 0x14
    Q_BAD_NO_COMMS = 0x18
    Q_BAD_OOS = 0x1C
    Q_UNC = 0x40
    Q_UNC_LAST = 0x44
    Q_UNC_SUBST = 0x48
    Q_UNC_INITIAL = 0x4C
    Q_UNC_CONVERSION = 0x50
    Q_UNC_RANGE = 0x54
    Q_UNC_SUBNORMAL = 0x58
    Q_GOOD = 0x80
    # good, cascade: used on the backward path
    QC_OK = 0xC0
    QC_INIT_ACK = 0xC4
    QC_INIT_REQUEST = 0xC8
    QC_NOT_INVITED = 0xCC
    QC_NOT_SELECTED = 0xD0
    QC_LOCAL_OVERRIDE = 0xD8
    QC_FAULT_STATE = 0xDC
    # limits, low two bits
    LIM_NONE = 0
    LIM_LOW = 1
    LIM_HIGH = 2
    LIM_CONST = 3

cdef enum:
    MODE_OFF = 0
    MODE_INITIALISING = 1
    MODE_LOCAL = 2
    MODE_MANUAL = 3
    MODE_AUTO = 4
    MODE_CASCADE = 5
    MODE_PLAN = 6

cdef enum:
    # why a block is in its mode or gives this output; plain words in ctrl/modes.py
    WHY_NORMAL = 0
    WHY_DOWNSTREAM = 1        # what I command is not taking my command: I track it
    WHY_MEASURE_BAD = 2
    WHY_REQUIRES = 3          # a "requires" condition is false
    WHY_TRIPPED = 4
    WHY_LIMIT_LOW = 5
    WHY_LIMIT_HIGH = 6
    WHY_SETPOINT_BAD = 7
    WHY_HOLDING = 8
    WHY_PEAK = 9              # the peak guard asks
    WHY_SOC = 10              # battery state of charge limits
    WHY_PRICE = 11
    WHY_STOCK_LOW = 12
    WHY_STOCK_FULL = 13
    WHY_AVOID_HOURS = 14
    WHY_MIN_TIME = 15         # min on/off, min run/stop, starts per hour
    WHY_SUBSTITUTE = 16
    WHY_RAMPING = 17
    WHY_SOAKING = 18
    WHY_FAIL_ACTION = 19
    WHY_NOT_ALLOWED = 20      # "allow_when" is false

cdef struct Scan:
    double* v                 # values of the image, by slot
    uint8_t* q                # status
    int64_t* t                # time of the source sample, ns CLOCK_BOOTTIME
    double* bv                # achieved value of a slot, written by its consumer in the backward pass
    uint8_t* bq               # its status; 0 = nobody answers for this slot
    double dt                 # s since this task last ran: n x period, never measured time
    int64_t now               # ns CLOCK_BOOTTIME of this scan
    double utc                # s since 1970, for meter windows and records only
    double local              # s since local midnight, for clock-time rules
    int32_t fresh             # 1: first scan, or a gap of more than 3 periods: re-initialise by tracking

cdef struct Block:
    int32_t n_in
    int32_t n_out
    int32_t n_par
    int32_t n_st
    int32_t* inp              # slots; -1 = not wired
    int32_t* out              # slots; never -1
    double* par
    double* st                # plain data: snapshot and restore copy it

ctypedef int (*block_fn)(Block*, Scan*) except -1 nogil

cdef inline bint finite(double x) noexcept nogil:
    # by IEEE bits, so that no compiler flag can optimise the test away
    cdef uint64_t u
    memcpy(&u, &x, 8)
    return (u & <uint64_t>0x7FF0000000000000) != <uint64_t>0x7FF0000000000000

cdef inline bint usable(uint8_t q) noexcept nogil:      # good or uncertain
    return q >= 0x40

cdef inline bint is_good(uint8_t q) noexcept nogil:
    return q >= 0x80

cdef inline uint8_t worst(uint8_t a, uint8_t b) noexcept nogil:
    # worst quality; limits are dropped, which is right for anything but a monotone single path
    a = a & 0xFC
    b = b & 0xFC
    return a if a < b else b

cdef inline double clamp(double x, double lo, double hi) noexcept nogil:
    return lo if x < lo else (hi if x > hi else x)

cdef inline bint wired(Block* b, int i) noexcept nogil:
    return b.inp[i] >= 0

cdef inline double val(Block* b, Scan* s, int i) noexcept nogil:
    return s.v[b.inp[i]]

cdef inline uint8_t stat(Block* b, Scan* s, int i) noexcept nogil:
    return s.q[b.inp[i]] if b.inp[i] >= 0 else <uint8_t>Q_BAD_NOT_CONNECTED

cdef inline bint ok(Block* b, Scan* s, int i) noexcept nogil:
    # wired, usable and finite
    return b.inp[i] >= 0 and s.q[b.inp[i]] >= 0x40 and finite(s.v[b.inp[i]])

cdef inline void put(Block* b, Scan* s, int i, double x, uint8_t q) noexcept nogil:
    s.v[b.out[i]] = x
    s.q[b.out[i]] = q
    s.t[b.out[i]] = s.now

cdef inline void answer(Block* b, Scan* s, int i, double achieved, uint8_t q) noexcept nogil:
    # backward: tell the producer of input i what really happened
    if b.inp[i] >= 0:
        s.bv[b.inp[i]] = achieved
        s.bq[b.inp[i]] = q

cdef inline bint answered(Block* b, Scan* s, int i) noexcept nogil:
    # forward: did the consumer of my output i answer with a usable achieved value?
    return s.bq[b.out[i]] >= 0x40 and finite(s.bv[b.out[i]])

cdef inline bint not_invited(Block* b, Scan* s, int i) noexcept nogil:
    # the consumer of output i does not take my command (or its path is bad): I must track
    cdef uint8_t q = s.bq[b.out[i]] & 0xFC
    if s.bq[b.out[i]] == 0:
        return False
    return q < 0x40 or q == QC_NOT_INVITED or q == QC_INIT_REQUEST or q == QC_LOCAL_OVERRIDE or q == QC_FAULT_STATE
