"""Classes of which Python code makes no object: one without its state would be read as if it had it."""


cdef extern from *:
    """
    static PyObject *sp_refuse_to_make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
        const char *dot = strrchr(type->tp_name, '.');
        (void)args, (void)kwargs;
        PyErr_Format(PyExc_TypeError, "%.200s objects are made by the functions of shardpack alone",
                     dot ? dot + 1 : type->tp_name);
        return NULL;
    }

    /* Cython's X.__new__(X) inside the extension that has the class calls its C function and not this slot. */
    static void sp_made_inside(PyObject *type) {
        ((PyTypeObject *)type)->tp_new = sp_refuse_to_make;
        ((PyTypeObject *)type)->tp_vectorcall = NULL; /* the short way to what was there */
    }
    """
    void made_inside "sp_made_inside"(object type)
