"""A program of blocks over a process image: one call a task and cycle, no GIL, no allocation.

Forward pass in the order of the program (the loader sorts: highest master first), then the backward pass in reverse
order, which carries "achieved value + limits" upward. The program never trusts a kernel's arithmetic: an output that is
not finite keeps its last value and becomes bad.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from array import array

from ext.abi cimport Block, Scan, block_fn, finite
from ext.image cimport Image
from ext.registry cimport Kind, kind_named

from ext.program_file import BlockSpec, ProgramError, Slot, Task, pack, unpack


cdef class Program:
    """The compiled tasks of a site on an image.

    data    bytes of ext.program_file.pack()
    image   Image with at least as many slots as the program; its slots get the initial values of the program
    """

    cdef readonly Image image
    cdef readonly object names       # block names in order
    cdef readonly object slots       # tuple[Slot, ...]
    cdef readonly object tasks       # tuple[Task, ...]
    cdef readonly double base_period_s
    cdef readonly bytes digest
    cdef readonly long long not_finite   # outputs a kernel gave that were not finite, since start
    cdef object _kinds, _index
    cdef int n_blocks, n_tasks
    cdef Block* _block
    cdef block_fn* _step
    cdef block_fn* _backward
    cdef int* _first                 # blocks of task k: _order[_first[k]] .. _order[_first[k+1]-1]
    cdef int* _order
    cdef int32_t* _pins
    cdef double* _params
    cdef double* _state
    cdef double* _last
    cdef long long _n_state
    cdef int _failed

    def __init__(self, bytes data, Image image):
        parts = unpack(data)
        if image.n < len(parts.slots):
            raise ProgramError(f"the image has {image.n} slots, the program needs {len(parts.slots)}")
        self.image = image
        self.slots, self.tasks = parts.slots, parts.tasks
        self.base_period_s, self.digest = parts.base_period_s, parts.digest
        self.names = tuple(b.name for b in parts.blocks)
        self._index = {name: i for i, name in enumerate(self.names)}
        if len(self._index) != len(self.names):
            raise ProgramError("two blocks have the same name")
        self._kinds = []
        self.n_blocks, self.n_tasks = len(parts.blocks), len(parts.tasks)
        self._allocate(parts)
        self._bind(parts)
        cdef int i
        for i, slot in enumerate(parts.slots):
            image.v[i] = slot.initial
            self._last[i] = slot.initial
            if slot.constant:
                image.q[i] = 0x80

    def _allocate(self, parts):
        cdef long long n_pins = sum(len(b.inputs) + len(b.outputs) for b in parts.blocks)
        cdef long long n_par = sum(len(b.params) for b in parts.blocks)
        words = []
        for b in parts.blocks:
            try:
                kind = kind_named(b.kind)
            except KeyError as error:
                raise ProgramError(str(error.args[0])) from None
            _check_shape(kind, b)
            self._kinds.append(kind)
            words.append(kind.words(len(b.inputs), b.params))
        self._n_state = sum(words)
        self._block = <Block*>calloc(max(1, self.n_blocks), sizeof(Block))
        self._step = <block_fn*>calloc(max(1, self.n_blocks), sizeof(block_fn))
        self._backward = <block_fn*>calloc(max(1, self.n_blocks), sizeof(block_fn))
        self._first = <int*>calloc(self.n_tasks + 1, sizeof(int))
        self._order = <int*>calloc(max(1, self.n_blocks), sizeof(int))
        self._pins = <int32_t*>calloc(max(1, n_pins), sizeof(int32_t))
        self._params = <double*>calloc(max(1, n_par), sizeof(double))
        self._state = <double*>calloc(max(1, self._n_state), sizeof(double))
        self._last = <double*>calloc(max(1, len(parts.slots)), sizeof(double))
        if not (self._block and self._step and self._backward and self._first and self._order and self._pins
                and self._params and self._state and self._last):
            raise MemoryError("no memory for the program")
        cdef int i
        cdef long long at = 0
        for i in range(self.n_blocks):
            self._block[i].n_st = words[i]
            self._block[i].st = self._state + at
            at += words[i]

    def _bind(self, parts):
        cdef int i, k
        cdef long long p = 0, d = 0
        cdef Kind kind
        for i, b in enumerate(parts.blocks):
            kind = self._kinds[i]
            self._step[i], self._backward[i] = kind.step, kind.backward
            self._block[i].n_in, self._block[i].n_out, self._block[i].n_par = len(b.inputs), len(b.outputs), len(b.params)
            self._block[i].inp = self._pins + p
            self._block[i].out = self._pins + p + len(b.inputs)
            for s in (*b.inputs, *b.outputs):
                self._pins[p] = s
                p += 1
            self._block[i].par = self._params + d
            for x in b.params:
                self._params[d] = x
                d += 1
        k = 0
        for task in range(self.n_tasks):
            self._first[task] = k
            for i, b in enumerate(parts.blocks):
                if b.task == task:
                    self._order[k] = i
                    k += 1
        self._first[self.n_tasks] = k

    def __dealloc__(self):
        for p in (<size_t>self._block, <size_t>self._step, <size_t>self._backward, <size_t>self._first,
                  <size_t>self._order, <size_t>self._pins, <size_t>self._params, <size_t>self._state,
                  <size_t>self._last):
            free(<void*><size_t>p)

    cdef int _scan(self, int task, Scan* scan) except -1 nogil:
        cdef int j, k, i
        cdef Block* b
        for j in range(self._first[task], self._first[task + 1]):
            i = self._order[j]
            b = &self._block[i]
            self._failed = i
            self._step[i](b, scan)
            for k in range(b.n_out):
                if finite(scan.v[b.out[k]]):
                    self._last[b.out[k]] = scan.v[b.out[k]]
                else:
                    scan.v[b.out[k]] = self._last[b.out[k]]
                    scan.q[b.out[k]] = 0
                    self.not_finite += 1
        for j in range(self._first[task + 1] - 1, self._first[task] - 1, -1):
            self._failed = self._order[j]
            self._backward[self._failed](&self._block[self._failed], scan)
        self._failed = -1
        return 0

    cdef void _bind_scan(self, Scan* scan) noexcept nogil:
        scan.v, scan.q, scan.t = self.image.v, self.image.q, self.image.t
        scan.bv, scan.bq = self.image.bv, self.image.bq

    def run(self, int task, double dt_s, long long now_ns, double utc, double local, int fresh):
        """Execute one task once: forward, then backward.

        dt_s    s since the task last ran, n x its period, > 0
        now_ns  ns CLOCK_BOOTTIME; utc s since 1970; local s since local midnight
        fresh   1 = re-initialise by tracking (first scan, or more than 3 periods missed)
        Raises ProgramError naming the block that broke.
        """
        cdef Scan scan
        if not 0 <= task < self.n_tasks:
            raise ProgramError(f"no task {task}")
        if not dt_s > 0.0:
            raise ProgramError(f"dt must be > 0, not {dt_s}")
        self._bind_scan(&scan)
        scan.dt, scan.now, scan.utc, scan.local, scan.fresh = dt_s, now_ns, utc, local, fresh
        try:
            with nogil:
                self._scan(task, &scan)
        except Exception as error:
            raise ProgramError(f"block {self.names[self._failed]} broke: {error!r}") from error

    def run_grid(self, long long n, long long first_cycle, long long now_ns, double utc, double local, int fresh,
                 long long every, int32_t[::1] slots, double[:, ::1] values, uint8_t[:, ::1] statuses):
        """Execute n cycles of the grid in one call: every task at its divider. Returns the number of rows recorded.

        After each cycle whose number is a multiple of `every`, the chosen slots are copied into one row.
        A local midnight inside the call wraps `local`; a change of the clock (DST) must not lie inside.
        """
        cdef Scan scan
        cdef long long k, cycle, row = 0
        cdef int task
        cdef Py_ssize_t c
        cdef int64_t period_ns = <int64_t>(self.base_period_s * 1e9 + 0.5)
        cdef int[64] dividers
        if self.n_tasks > 64:
            raise ProgramError("at most 64 tasks")
        if every < 1 or values.shape[0] < n // every + 1 or statuses.shape[0] < n // every + 1:
            raise ProgramError("the record is shorter than the run")
        for slot in slots:
            if not 0 <= slot < self.image.n:
                raise ProgramError(f"no slot {slot}")
        for task in range(self.n_tasks):
            dividers[task] = self.tasks[task].divider
        self._bind_scan(&scan)
        try:
            with nogil:
                for k in range(n):
                    cycle = first_cycle + k
                    scan.now = now_ns + k * period_ns
                    scan.utc = utc + k * self.base_period_s
                    scan.local = local + k * self.base_period_s
                    if scan.local >= 86400.0:
                        scan.local = scan.local - 86400.0
                    for task in range(self.n_tasks):
                        if cycle % dividers[task] == 0:
                            scan.dt = self.base_period_s * dividers[task]
                            scan.fresh = 1 if fresh and k < dividers[task] else 0
                            self._scan(task, &scan)
                    if cycle % every == 0:
                        for c in range(slots.shape[0]):
                            values[row, c] = self.image.v[slots[c]]
                            statuses[row, c] = self.image.q[slots[c]]
                        row += 1
        except Exception as error:
            raise ProgramError(f"block {self.names[self._failed]} broke: {error!r}") from error
        return row

    def state(self):
        """All block state as plain data, bound to this program by its checksum. restore() takes it back."""
        return self.digest + (<char*>self._state)[: 8 * self._n_state]

    def restore(self, bytes data):
        """Take back what state() gave. Raises ProgramError if it belongs to another program."""
        if len(data) != 32 + 8 * self._n_state or data[:32] != self.digest:
            raise ProgramError("the state belongs to another program")
        cdef const uint8_t[::1] view = data
        if self._n_state:
            memcpy(self._state, &view[32], 8 * self._n_state)

    def block_state(self, str block):
        """State words of one block: {name: value}; unnamed words as "#k"."""
        cdef int i = self._find(block)
        named = self._kinds[i].state
        return {
            (named[k] if k < len(named) else f"#{k}"): self._block[i].st[k] for k in range(self._block[i].n_st)
        }

    def set_state(self, str block, words):
        """Set state words of one block by name, e.g. the operating point a plant starts from."""
        cdef int i = self._find(block), k
        cdef double x
        named = {name: k for k, name in enumerate(self._kinds[i].state)}
        for name, value in words.items():
            k = named.get(name, int(name[1:]) if name[:1] == "#" else -1)
            if not 0 <= k < self._block[i].n_st:
                raise ProgramError(f"{block}: no state word {name!r}")
            x = value
            if not finite(x):
                raise ProgramError(f"{block}: state word {name!r} is not finite")
            self._block[i].st[k] = x

    def set_param(self, str block, str name, double value):
        """Change one fixed parameter of a block between two cycles."""
        cdef int i = self._find(block)
        names = [p[0] for p in self._kinds[i].params]
        if name not in names:
            raise ProgramError(f"{block}: no parameter {name!r}")
        if not finite(value):
            raise ProgramError(f"{block}: {name} is not finite")
        cdef int k = names.index(name)
        self._block[i].par[k] = value

    cdef int _find(self, str block) except -1:
        if block not in self._index:
            raise ProgramError(f"no block {block!r}")
        return self._index[block]


def _check_shape(kind, block):
    fixed_in, fixed_par = len(kind.inputs), len(kind.params)
    n_in, n_par = len(block.inputs), len(block.params)
    if n_in < fixed_in or (n_in > fixed_in and not kind.var_input):
        raise ProgramError(f"{block.name}: {kind.name} has {fixed_in} inputs, not {n_in}")
    if n_par < fixed_par or (n_par > fixed_par and not kind.var_param):
        raise ProgramError(f"{block.name}: {kind.name} has {fixed_par} parameters, not {n_par}")
    if len(block.outputs) != len(kind.outputs):
        raise ProgramError(f"{block.name}: {kind.name} has {len(kind.outputs)} outputs, not {len(block.outputs)}")
    for pin, slot in zip(kind.inputs, block.inputs):
        if slot < 0 and not pin.endswith("?"):
            raise ProgramError(f"{block.name}: input {pin} must be wired")


class SingleBlock:
    """One block alone, with its own little image: for tests, reference twins and plants that run by themselves.

    kind    registered kind
    params  all parameters in order
    n_in    number of inputs (default: the fixed ones)
    wired   which inputs are wired (default: all)
    """

    def __init__(self, kind, params, n_in=None, wired=None):
        spec = kind_named(kind)
        self.kind = spec
        self.n_in = len(spec.inputs) if n_in is None else n_in
        self._wired = tuple(wired) if wired is not None else None
        self._params = tuple(float(p) for p in params)
        self._program = None

    def _build(self, wired):
        n_out = len(self.kind.outputs)
        slots = [Slot(f"in{i}", "") for i in range(self.n_in)] + [Slot(f"out{i}", "") for i in range(n_out)]
        inputs = tuple(i if w else -1 for i, w in enumerate(wired))
        outputs = tuple(self.n_in + i for i in range(n_out))
        block = BlockSpec("block", self.kind.name, 0, inputs, outputs, self._params)
        data = pack(1.0, slots or [Slot("none", "")], [Task("task", 1)], [block])
        self._image = Image(max(1, len(slots)))
        self._program = Program(data, self._image)
        self._wired = tuple(wired)

    def step(self, inputs, dt, now=0, utc=0.0, local=0.0, fresh=0, back=None):
        """One scan. inputs: (value, status) each, None = not wired (fixed at the first call).

        back: (achieved, status) that the consumer answered for each output since the last scan.
        Returns (value, status) of each output.
        """
        if self._program is None:
            self._build(self._wired if self._wired is not None else [x is not None for x in inputs])
        _poke(self._image, inputs, back, self.n_in, now)
        self._program.run(0, dt, now, utc, local, fresh)
        return [self._image.get(self.n_in + i)[:2] for i in range(len(self.kind.outputs))]

    def backward(self):
        """(achieved, status) that the block answered for each input in its last scan; (0.0, 0) = no answer."""
        return [self._image.back(i) for i in range(self.n_in)]

    @property
    def program(self):
        """The program of this one block (named "block"); built at the first step, or now."""
        if self._program is None:
            self._build(self._wired if self._wired is not None else [True] * self.n_in)
        return self._program

    @property
    def state(self):
        """State words."""
        return list(self.program.block_state("block").values())

    @state.setter
    def state(self, words):
        self.program.set_state("block", {f"#{i}": x for i, x in enumerate(words)})


def _poke(Image image, inputs, back, int n_in, long long now):
    cdef int i
    for i, item in enumerate(inputs):
        image.bv[i], image.bq[i] = 0.0, 0
        if item is not None:
            image.v[i], image.q[i], image.t[i] = item[0], item[1], now
    if back is not None:
        for i, item in enumerate(back):
            image.bv[n_in + i], image.bq[n_in + i] = item[0], item[1]
