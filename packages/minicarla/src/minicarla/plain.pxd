"""What all compiled modules use of plain C."""

from libc.stdlib cimport realloc


cdef inline double lesser(double a, double b) noexcept nogil:
    """The smaller one; ``b`` where ``a`` is no number.  One instruction, where ``fmin`` is a call."""
    return a if a < b else b


cdef inline double greater(double a, double b) noexcept nogil:
    """The larger one; ``b`` where ``a`` is no number."""
    return a if a > b else b


cdef inline double clip(double value, double limit) noexcept nogil:
    """``value`` within plus and minus ``limit``."""
    return lesser(greater(value, -limit), limit)


cdef inline void* room(void* block, Py_ssize_t count, size_t size) except NULL:
    """``block`` with room for ``count`` of a size; MemoryError leaves the old one as it was."""
    cdef void* larger = realloc(block, (count if count > 0 else 1) * size)
    if larger == NULL:
        raise MemoryError
    return larger
