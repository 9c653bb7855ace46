"""The memory of sealed records, used again."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF


cdef extern from *:
    """
    /* Give a bytes object that nobody else can see another length within what was allocated for it. */
    static void shorten(PyObject *bytes, Py_ssize_t size) {
        Py_SET_SIZE((PyVarObject *)bytes, size);
        PyBytes_AS_STRING(bytes)[size] = 0;
    #if defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    #endif
        ((PyBytesObject *)bytes)->ob_shash = -1; /* the hash of what it held before */
    #if defined(__GNUC__)
    #pragma GCC diagnostic pop
    #endif
    }

    /* Does nobody but the pool hold it? Without a GIL there is no answer, and no pool. */
    static int held_once(PyObject *object) {
        return Py_REFCNT(object) == 1;
    }

    #ifdef Py_GIL_DISABLED
    enum { POOLED = 0 };
    #else
    enum { POOLED = 1 };
    #endif
    """
    void shorten(PyObject *data, Py_ssize_t size)
    bint held_once(PyObject *data)
    bint POOLED


@cython.final
cdef class Outputs:
    """Bytes objects for sealed records, filled again once nobody else holds them.

    A fresh megabyte costs several times its copying in page faults; a used one costs nothing: without, `add_many` and
    `flush` of 100 B take 1.4 times as long. With the GIL, what only the pool holds nobody can come to hold before it is
    handed out: there are no weak references to bytes, and the collector does not know them.
    """

    def __cinit__(self, Py_ssize_t most=REUSABLE_BYTES):
        self.most = most

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(REUSABLE):
            Py_XDECREF(self.held[i])

    cdef bytes take(self, Py_ssize_t size):
        """An uninitialised bytes object of this size that only the caller and this pool hold."""
        cdef Py_ssize_t capacity = (size + REUSABLE_STEP - 1) // REUSABLE_STEP * REUSABLE_STEP
        cdef Py_ssize_t i, best = -1
        cdef bytes data
        if size < REUSABLE_STEP or not POOLED:
            return PyBytes_FromStringAndSize(NULL, size)
        for i in range(REUSABLE):
            if self.held[i] != NULL and held_once(self.held[i]) and self.capacities[i] >= size and (
                best < 0 or self.capacities[i] < self.capacities[best]
            ):
                best = i
        if best < 0:
            data = PyBytes_FromStringAndSize(NULL, capacity)
            for _ in range(REUSABLE):
                if self.total + capacity <= self.most:
                    break
                self.drop(self.oldest)
                self.oldest = (self.oldest + 1) % REUSABLE
            best = self.oldest
            self.drop(best)
            self.oldest = (best + 1) % REUSABLE
            self.total += capacity
            Py_INCREF(data)
            self.held[best] = <PyObject *>data
            self.capacities[best] = capacity
        data = <bytes>self.held[best]
        shorten(<PyObject *>data, size)
        return data

    cdef void drop(self, Py_ssize_t i) noexcept:
        Py_XDECREF(self.held[i])
        self.total -= self.capacities[i]
        self.held[i] = NULL
        self.capacities[i] = 0
