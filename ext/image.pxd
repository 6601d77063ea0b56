from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef class Image:
    cdef readonly int n
    cdef object _owner            # keeps the buffer alive
    cdef uint8_t[::1] _bytes
    cdef double* v
    cdef int64_t* t
    cdef uint8_t* q
    cdef double* bv
    cdef uint8_t* bq
    cdef double[::1] _next_v
    cdef int64_t[::1] _next_t
    cdef uint8_t[::1] _next_q
    cdef uint8_t[::1] _posted
    cdef int32_t[::1] _dirty
    cdef int _n_dirty
    cdef int32_t[::1] _logged     # slots of the last input log entry, in order
    cdef int _logged_n
    cdef uint8_t[::1] _log
    cdef uint64_t* header

    cdef int _check(self, int slot) except -1
