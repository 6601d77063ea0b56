"""The kinds of compiled blocks and plants: each kernel file registers what it holds, once, at import."""

from ext.abi cimport Block, Scan, block_fn

_KINDS = {}


cdef class Kind:
    """What a block kind is made of.

    name        unique
    inputs      pin names in order; one that ends in "?" may stay unwired (slot -1)
    outputs     pin names in order
    params      ((name, default), ...); default None = required. All plain floats, units in the doc
    state       names of the fixed state words (float64 each)
    var_input   name of the repeated input at the end, or ""
    var_param   name of the repeated parameter at the end, or ""
    state_size  callable (n_in, n_par, params: list[float]) -> number of state words, or None = len(state)
    """

    def __init__(self, name, inputs=(), outputs=(), params=(), state=(), var_input="", var_param="",
                 state_size=None, doc=""):
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.params = tuple(params)
        self.state = tuple(state)
        self.var_input = var_input
        self.var_param = var_param
        self.state_size = state_size
        self.doc = doc

    def words(self, n_in, params):
        """Number of float64 state words for this wiring."""
        return len(self.state) if self.state_size is None else self.state_size(n_in, len(params), list(params))


cdef object register(Kind kind, block_fn step, block_fn backward):
    if kind.name in _KINDS:
        raise RuntimeError(f"block kind {kind.name!r} is registered twice")
    kind.step = step
    kind.backward = backward
    _KINDS[kind.name] = kind
    return kind


cpdef Kind kind_named(str name):
    """The kind, or KeyError naming the known ones."""
    if name not in _KINDS:
        raise KeyError(f"unknown block kind {name!r}; known: {', '.join(sorted(_KINDS))}")
    return _KINDS[name]


def kinds():
    """All kinds by name."""
    return dict(_KINDS)
