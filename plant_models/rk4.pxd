# The classic Runge-Kutta method of order 4 with a fixed step, for at most 16 states.
# u: inputs held over the whole call; p: parameters; x: states, advanced in place by `steps` steps of h seconds.
ctypedef void (*deriv_fn)(const double* x, const double* u, const double* p, double* dx) noexcept nogil

cdef inline int substeps(double dt, double h_max) noexcept nogil:
    # whole number of equal sub-steps of at most h_max in dt (1e-9: dt = n x h_max gives n, not n + 1)
    cdef double n = dt / h_max - 1e-9
    return 1 if n <= 1.0 else <int>n + 1

cdef inline void rk4(deriv_fn f, double* x, int n, const double* u, const double* p, double h, int steps) noexcept nogil:
    cdef double[16] k1
    cdef double[16] k2
    cdef double[16] k3
    cdef double[16] k4
    cdef double[16] y
    cdef int i, j
    for j in range(steps):
        f(x, u, p, k1)
        for i in range(n):
            y[i] = x[i] + 0.5 * h * k1[i]
        f(y, u, p, k2)
        for i in range(n):
            y[i] = x[i] + 0.5 * h * k2[i]
        f(y, u, p, k3)
        for i in range(n):
            y[i] = x[i] + h * k3[i]
        f(y, u, p, k4)
        for i in range(n):
            x[i] += h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i])
