"""Expression block: a stack machine over the inputs. Its codes are those of ext.opcodes, which proves them at load."""

from libc.math cimport fabs, sqrt

from ext.abi cimport *
from ext.registry cimport Kind, register

from ext.opcodes import check

cdef enum:
    CONST = 1
    INPUT
    ADD
    SUB
    MUL
    DIV
    NEG
    ABS
    MIN
    MAX
    SQRT
    LT
    LE
    GT
    GE
    EQ
    NE
    AND
    OR
    NOT
    BRANCH           # "if" in ext.opcodes

cdef enum:
    STACK = 32
    NO_STATUS = 0xFC         # of a constant: never the worst

cdef double SMALLEST_DIVISOR = 1e-12

cdef struct Cell:
    double x
    uint8_t q


cdef inline void _settle(Cell* c) noexcept nogil:
    if c.q >= 0x40 and not finite(c.x):
        c.q = Q_BAD


cdef inline double _arithmetic(int op, double a, double c, uint8_t* q) noexcept nogil:
    if op == ADD:
        return a + c
    if op == SUB:
        return a - c
    if op == MUL:
        return a * c
    if op == MIN:
        return a if a <= c else c
    if op == MAX:
        return a if a >= c else c
    if fabs(c) < SMALLEST_DIVISOR:
        q[0] = Q_BAD
        return 0.0
    return a / c


cdef inline double _compare(int op, double a, double c) noexcept nogil:
    cdef bint r
    if op == LT:
        r = a < c
    elif op == LE:
        r = a <= c
    elif op == GT:
        r = a > c
    elif op == GE:
        r = a >= c
    elif op == EQ:
        r = a == c
    else:
        r = a != c
    return 1.0 if r else 0.0


cdef inline void _logic(Cell* a, Cell* c, double decides) noexcept nogil:
    # Kleene: one usable operand that decides (false for AND, true for OR) is the answer whatever the other is
    cdef double x = 1.0 if a.x > 0.5 else 0.0, y = 1.0 if c.x > 0.5 else 0.0
    cdef bint a_ok = a.q >= 0x40, c_ok = c.q >= 0x40
    if a_ok and c_ok:
        a.q = worst(a.q, c.q)
        a.x = decides if x == decides or y == decides else 1.0 - decides
    elif a_ok and x == decides:
        a.x = decides
    elif c_ok and y == decides:
        a.x, a.q = decides, c.q
    else:
        a.x, a.q = 0.0, worst(a.q, c.q)


cdef inline void _unary(int op, Cell* a) noexcept nogil:
    if op == NEG:
        a.x = -a.x
    elif op == ABS:
        a.x = fabs(a.x)
    elif op == NOT:
        a.x = 0.0 if a.x > 0.5 else 1.0
    elif a.x < 0.0:
        if a.q >= 0x40:
            a.q = Q_BAD
        a.x = 0.0
    else:
        a.x = sqrt(a.x)


cdef inline void _binary(int op, Cell* a, Cell* c) noexcept nogil:
    cdef uint8_t q = worst(a.q, c.q)
    if op == AND or op == OR:
        _logic(a, c, 0.0 if op == AND else 1.0)
        return
    if q < 0x40:
        a.x, a.q = 0.0, q
        return
    a.q = q
    a.x = _arithmetic(op, a.x, c.x, &a.q) if op <= MAX else _compare(op, a.x, c.x)
    _settle(a)


cdef inline void _choose(Cell* a) noexcept nogil:
    # a[0] condition, a[1] when true, a[2] when false; only the branch taken counts
    cdef Cell* taken = a + 1 if a.x > 0.5 else a + 2
    if a.q < 0x40:
        a.x = 0.0
        return
    a.x = taken.x
    a.q = worst(a.q, taken.q)


cdef inline void _load(Block* b, Scan* s, int i, Cell* c) noexcept nogil:
    if ok(b, s, i):
        c.x, c.q = val(b, s, i), stat(b, s, i) & 0xFC
        return
    c.x, c.q = 0.0, stat(b, s, i) & 0xFC
    if c.q >= 0x40:
        c.q = Q_BAD


cdef inline int _evaluate(Block* b, Scan* s, Cell* stack) noexcept nogil:
    # number of results: 1, or 0 when the code is broken (cannot happen after the check at load)
    cdef int at = 0, n = 0, op
    while at < b.n_par:
        op = <int>b.par[at]
        if op == CONST or op == INPUT:
            if n >= STACK or at + 1 >= b.n_par:
                return 0
            at += 1
            if op == CONST:
                stack[n].x, stack[n].q = b.par[at], NO_STATUS
            elif b.par[at] < 0.0 or b.par[at] >= b.n_in:
                return 0
            else:
                _load(b, s, <int>b.par[at], &stack[n])
            n += 1
        elif op == NEG or op == ABS or op == SQRT or op == NOT:
            if n < 1:
                return 0
            _unary(op, &stack[n - 1])
        elif op == BRANCH:
            if n < 3:
                return 0
            n -= 2
            _choose(&stack[n - 1])
        else:
            if n < 2:
                return 0
            n -= 1
            _binary(op, &stack[n - 1], &stack[n])
        at += 1
    return n


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef Cell[STACK] stack
    if _evaluate(b, s, stack) != 1:
        put(b, s, 0, b.st[0], Q_BAD_CONFIG)
        return 0
    _settle(&stack[0])
    if stack[0].q >= 0x40:
        b.st[0] = stack[0].x
    put(b, s, 0, b.st[0], <uint8_t>Q_GOOD if stack[0].q == NO_STATUS else stack[0].q)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0


def _words(n_in, n_par, params):
    check(params, n_in)
    return 1


register(Kind(
    "expr",
    outputs=("out",), var_input="x", var_param="code", state=("y",), state_size=_words,
    doc="""Value of an expression over the inputs x, as postfix code (ext.opcodes). Units are checked by the compiler of the code.

    Status: the worst of the inputs used; the branch of `if` that is not taken is not used. Truth is > 0.5, results 0 or 1.
    and/or are three-valued: false and bad = false, true or bad = true, else bad. Division by |d| < 1e-12, the root of a negative
    number and a result beyond the numbers are bad. Bad: last value kept.
    Source: EPICS calc record (postfix engine); IEC 61131-3 instruction list; Kleene's strong three-valued logic (1952)."""),
    _step, _back)
