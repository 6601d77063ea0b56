"""The process image: value f64, status u8 and source time i64 ns of every tag, by slot.

One buffer (private memory or a shared memfd) written by one process. Writers post into a "next" buffer; latch()
makes it current at the start of a cycle and publish() ends the cycle. Between the two the sequence number is odd, so a
reader in another process either copies a consistent cycle or tries again (sequence lock, Lameter 2005).

Layout, little-endian: 16 header words of 8 bytes (magic, version<<32|n, sequence, cycle, now ns, ...), then value[n], time[n],
achieved[n] (8 bytes each), status[n], achieved status[n] (1 byte each, each padded to 8).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from array import array

cdef extern from *:
    """
    #include <stdint.h>
    static inline void lw_store(uint64_t* p, uint64_t x) { __atomic_store_n(p, x, __ATOMIC_SEQ_CST); }
    static inline uint64_t lw_load(uint64_t* p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    static inline void lw_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    void lw_store(uint64_t* p, uint64_t x) nogil
    uint64_t lw_load(uint64_t* p) nogil
    void lw_fence() nogil

cdef uint64_t MAGIC = 0x31474D4950574C  # "LWPIMG1"
VERSION = 1
cdef int HEADER = 16 * 8
# header words
cdef enum:
    H_MAGIC = 0
    H_SIZE = 1
    H_SEQ = 2
    H_CYCLE = 3
    H_NOW = 4


cdef long long _padded(long long n):
    return (n + 7) // 8 * 8


def size_of(int n):
    """Bytes an image of n slots needs."""
    return HEADER + 24 * n + 2 * _padded(n)


cdef class Image:
    """Writer's side of an image of n slots. Statuses start as bad, not connected (0x08)."""

    def __init__(self, int n, buffer=None):
        if n < 1:
            raise ValueError("an image has at least one slot")
        cdef long long need = size_of(n)
        if buffer is None:
            buffer = bytearray(need)
        self._owner = buffer
        self._bytes = buffer
        if self._bytes.shape[0] < need:
            raise ValueError(f"the buffer has {self._bytes.shape[0]} bytes, {n} slots need {need}")
        self.n = n
        cdef uint8_t* base = &self._bytes[0]
        self.header = <uint64_t*>base
        self.v = <double*>(base + HEADER)
        self.t = <int64_t*>(base + HEADER + 8 * n)
        self.bv = <double*>(base + HEADER + 16 * n)
        self.q = base + HEADER + 24 * n
        self.bq = base + HEADER + 24 * n + _padded(n)
        self._next_v = array("d", bytes(8 * n))
        self._next_t = array("q", bytes(8 * n))
        self._next_q = bytearray(n)
        self._posted = bytearray(n)
        self._dirty = array("i", bytes(4 * n))
        self._n_dirty = 0
        self._logged = array("i", bytes(4 * n))
        self._logged_n = -1
        self._log = bytearray(12 + 29 * n)
        cdef int i
        for i in range(n):
            self.v[i] = 0.0
            self.t[i] = 0
            self.bv[i] = 0.0
            self.q[i] = 0x08
            self.bq[i] = 0
        self.header[H_SIZE] = (<uint64_t>VERSION << 32) | <uint64_t>n
        self.header[H_CYCLE] = 0
        self.header[H_NOW] = 0
        lw_store(&self.header[H_SEQ], 0)
        lw_store(&self.header[H_MAGIC], MAGIC)

    cdef int _check(self, int slot) except -1:
        if slot < 0 or slot >= self.n:
            raise IndexError(f"slot {slot} of an image of {self.n}")
        return 0

    def get(self, int slot):
        """(value, status, source time ns) of a slot, current."""
        self._check(slot)
        return self.v[slot], self.q[slot], self.t[slot]

    def value(self, int slot):
        """Current value."""
        self._check(slot)
        return self.v[slot]

    def status(self, int slot):
        """Current status byte."""
        self._check(slot)
        return self.q[slot]

    def back(self, int slot):
        """(achieved value, status) that the consumer of a slot answered; status 0 = nobody answers."""
        self._check(slot)
        return self.bv[slot], self.bq[slot]

    def post(self, int slot, double value, int status, long long t_ns):
        """Put a value into the next image. It becomes current at latch()."""
        self._check(slot)
        if not self._posted[slot]:
            self._posted[slot] = 1
            self._dirty[self._n_dirty] = slot
            self._n_dirty += 1
        self._next_v[slot] = value
        self._next_q[slot] = status & 0xFF
        self._next_t[slot] = t_ns

    def latch(self, long long now_ns):
        """Start of a cycle: what was posted becomes current, all at once. Returns how many slots changed hands."""
        cdef int i, slot
        lw_store(&self.header[H_SEQ], self.header[H_SEQ] | 1)
        lw_fence()
        for i in range(self._n_dirty):
            slot = self._dirty[i]
            self.v[slot] = self._next_v[slot]
            self.q[slot] = self._next_q[slot]
            self.t[slot] = self._next_t[slot]
            self._posted[slot] = 0
        i = self._n_dirty
        self._n_dirty = 0
        self.header[H_NOW] = <uint64_t>now_ns
        return i

    def pending_log(self, long long now_ns):
        """What was posted and not latched yet, packed for the input log (format: ctrl.records.inputs).

        Little-endian: u32 number of slots posted and their u32 numbers (0xFFFFFFFF alone: the same as last time), u32
        number of changes and (u32 slot, f64 value, u8 status) each, u32 number of old samples and (u32 slot, i64 time)
        each. A slot that is posted without a change keeps value and status; its time is now_ns unless listed.
        """
        cdef int i, slot, n = self._n_dirty
        cdef uint32_t changes = 0, old = 0, count = n
        cdef long long at, at_changes
        cdef bint same = n == self._logged_n
        for i in range(n):
            if self._logged[i] != self._dirty[i]:
                same = False
                self._logged[i] = self._dirty[i]
        self._logged_n = n
        at = 0
        cdef uint8_t* out = &self._log[0]
        if same:
            count = 0xFFFFFFFF
            memcpy(out, &count, 4)
            at = 4
        else:
            memcpy(out, &count, 4)
            at = 4
            for i in range(n):
                memcpy(out + at, &self._dirty[i], 4)
                at += 4
        at_changes = at
        at += 4
        for i in range(n):
            slot = self._dirty[i]
            if self._next_q[slot] != self.q[slot] or memcmp(&self._next_v[slot], &self.v[slot], 8) != 0:
                memcpy(out + at, &slot, 4)
                memcpy(out + at + 4, &self._next_v[slot], 8)
                out[at + 12] = self._next_q[slot]
                at += 13
                changes += 1
        memcpy(out + at_changes, &changes, 4)
        at_changes = at
        at += 4
        for i in range(n):
            slot = self._dirty[i]
            if self._next_t[slot] != now_ns:
                memcpy(out + at, &slot, 4)
                memcpy(out + at + 4, &self._next_t[slot], 8)
                at += 12
                old += 1
        memcpy(out + at_changes, &old, 4)
        return (<char*>out)[:at]

    def publish(self):
        """End of a cycle: readers may copy it."""
        self.header[H_CYCLE] += 1
        lw_fence()
        lw_store(&self.header[H_SEQ], (self.header[H_SEQ] | 1) + 1)

    @property
    def cycle(self):
        """Number of published cycles."""
        return self.header[H_CYCLE]

    def copy_values(self, double[::1] values, uint8_t[::1] statuses, int32_t[::1] slots):
        """Copy chosen slots into the caller's arrays (len(slots) each): one row of a record."""
        cdef Py_ssize_t i
        if values.shape[0] < slots.shape[0] or statuses.shape[0] < slots.shape[0]:
            raise ValueError("the row is shorter than the list of slots")
        for i in range(slots.shape[0]):
            self._check(slots[i])
            values[i] = self.v[slots[i]]
            statuses[i] = self.q[slots[i]]


cdef class ImageReader:
    """Reader's side, in any process that maps the buffer (read-only is enough)."""

    cdef readonly int n
    cdef object _owner
    cdef const uint8_t[::1] _bytes

    def __init__(self, buffer):
        self._owner = buffer
        self._bytes = buffer
        if self._bytes.shape[0] < HEADER:
            raise ValueError("not a process image: too short")
        cdef uint64_t* header = <uint64_t*>&self._bytes[0]
        if lw_load(&header[H_MAGIC]) != MAGIC:
            raise ValueError("not a process image")
        if header[H_SIZE] >> 32 != <uint64_t>VERSION:
            raise ValueError(f"process image version {header[H_SIZE] >> 32}; this engine reads {VERSION}")
        self.n = <int>(header[H_SIZE] & 0xFFFFFFFF)
        if self._bytes.shape[0] < size_of(self.n):
            raise ValueError("not a process image: shorter than its slots")

    def snapshot(self, int tries=1000):
        """(cycle, now ns, values array('d'), statuses bytes, times array('q')) of one consistent cycle, or None.

        None: no consistent copy within `tries` attempts (the writer is in the middle of a cycle all the time).
        """
        cdef uint64_t* header = <uint64_t*>&self._bytes[0]
        cdef uint64_t before, cycle, now
        cdef int k, n = self.n
        for k in range(tries):
            before = lw_load(&header[H_SEQ])
            if before & 1:
                continue
            cycle = header[H_CYCLE]
            now = header[H_NOW]
            body = bytes(self._bytes[HEADER : HEADER + 24 * n + n])
            lw_fence()
            if lw_load(&header[H_SEQ]) == before:
                values = array("d")
                values.frombytes(body[: 8 * n])
                times = array("q")
                times.frombytes(body[8 * n : 16 * n])
                return cycle, <int64_t>now, values, body[24 * n : 25 * n], times
        return None
