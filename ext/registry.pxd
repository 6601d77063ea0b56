from ext.abi cimport block_fn

cdef class Kind:
    cdef public str name, doc, var_input, var_param
    cdef public tuple inputs, outputs, params, state
    cdef public object state_size
    cdef block_fn step
    cdef block_fn backward

cdef object register(Kind kind, block_fn step, block_fn backward)
cpdef Kind kind_named(str name)
