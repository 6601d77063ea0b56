"""The ticker: releases cycles on an absolute monotonic grid and wakes an event loop through an eventfd.

The wait is clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME) without the GIL, so a busy Python thread does not delay it.
A cycle that is released late is never repeated: the next deadline is the next point of the same grid, and the grid points
missed are counted. SCHED_FIFO and a timer slack of 1 ns are used where the system permits; `realtime` says whether.
"""

import os
import threading

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <sched.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/prctl.h>
    #include <time.h>
    #include <unistd.h>
    static int64_t lw_now(void) {
        struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
    }
    static int lw_sleep_until(int64_t ns) {
        struct timespec t = {ns / 1000000000LL, ns % 1000000000LL};
        int r;
        do { r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0); } while (r == EINTR);
        return r;
    }
    static int lw_fifo(int priority) {
        struct sched_param p; memset(&p, 0, sizeof p); p.sched_priority = priority;
        return sched_setscheduler(0, SCHED_FIFO, &p);
    }
    static int lw_wake(int fd) { uint64_t one = 1; return write(fd, &one, 8) == 8 ? 0 : -1; }
    static void lw_slack(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); }
    """
    int64_t lw_now() nogil
    int lw_sleep_until(int64_t ns) nogil
    int lw_fifo(int priority) nogil
    int lw_wake(int fd) nogil
    void lw_slack() nogil


cdef class Ticker:
    """Releases the cycles of a grid.

    period_ns      ns of CLOCK_MONOTONIC between cycles, >= 100 us
    fifo_priority  1..99 asks for SCHED_FIFO on the ticker's thread, 0 does not
    fd             eventfd: readable once a cycle was released; take() clears it
    """

    cdef readonly int64_t period_ns
    cdef readonly int fd
    cdef int _priority
    cdef int _realtime
    cdef volatile int _run
    cdef volatile int64_t _released      # grid points released or missed so far
    cdef volatile int64_t _missed
    cdef volatile int64_t _late_max
    cdef volatile int64_t _late_sum
    cdef volatile int64_t _wakes
    cdef int64_t _taken
    cdef int64_t _first
    cdef object _thread

    def __init__(self, period_ns, fifo_priority=0):
        if period_ns < 100_000:
            raise ValueError("the shortest period is 100 us")
        if not 0 <= fifo_priority <= 99:
            raise ValueError("FIFO priorities are 1 to 99; 0 asks for none")
        self.period_ns = period_ns
        self._priority = fifo_priority
        self._realtime = -1
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def start(self, first_ns):
        """Start the grid at CLOCK_MONOTONIC `first_ns`. A point in the past starts at the next grid point."""
        if self._thread is not None:
            raise RuntimeError("the ticker runs already")
        self._first = first_ns
        self._run = 1
        self._thread = threading.Thread(target=self._loop, name="ticker", daemon=True)
        self._thread.start()

    def stop(self):
        """End the thread (within one period) and close the eventfd."""
        self._run = 0
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _loop(self):
        cdef int64_t k = 0, now, late, skip
        cdef int64_t due = self._first
        with nogil:
            lw_slack()
            self._realtime = 1 if self._priority > 0 and lw_fifo(self._priority) == 0 else 0
            now = lw_now()
            if now > due:
                k = (now - due) // self.period_ns + 1  # the past is not made up for, nor counted as missed
                due = due + k * self.period_ns
                self._first = due
                k = 0
            while self._run:
                if lw_sleep_until(due) != 0:
                    break
                now = lw_now()
                late = now - due
                if late > self._late_max:
                    self._late_max = late
                self._late_sum = self._late_sum + late
                self._wakes = self._wakes + 1
                skip = late // self.period_ns  # grid points that passed while this thread was not run
                if skip > 0:
                    self._missed = self._missed + skip
                k = k + 1 + skip
                self._released = k
                lw_wake(self.fd)
                due = self._first + k * self.period_ns

    def take(self):
        """(number of the newest grid point, grid points since the last take). (-1, 0) when none is new.

        More than 1 means that cycles were missed: by the ticker, or because the last cycle took too long.
        """
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return -1, 0
        released = self._released
        new = released - self._taken
        self._taken = released
        return released - 1, new

    def due_ns(self, k):
        """CLOCK_MONOTONIC of grid point k."""
        return self._first + <int64_t>k * self.period_ns

    @property
    def realtime(self):
        """True when the thread runs under SCHED_FIFO."""
        return self._realtime == 1

    def statistics(self):
        """Lateness of the release: {wakes, missed, late_mean_us, late_max_us}."""
        wakes = self._wakes
        return {
            "wakes": float(wakes),
            "missed": float(self._missed),
            "late_mean_us": self._late_sum / wakes / 1000.0 if wakes else 0.0,
            "late_max_us": self._late_max / 1000.0,
        }
