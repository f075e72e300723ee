/* What the fixtures need of CPython's C API, in our own words: wasm32, the same layouts from 3.11 to 3.14. */
#ifndef TESTS_PYTHON_H
#define TESTS_PYTHON_H

typedef int Py_ssize_t;
typedef struct object { Py_ssize_t refcount; void *type; } PyObject;
typedef PyObject *(*PyCFunction)(PyObject *self, PyObject *args);

typedef struct { const char *name; PyCFunction function; int flags; const char *doc; } PyMethodDef;

typedef struct {
    PyObject head;
    PyObject *(*init)(void);
    Py_ssize_t index;
    PyObject *copy;
    const char *name;
    const char *doc;
    Py_ssize_t size;
    PyMethodDef *methods;
    void *slots, *traverse, *clear, *free;
} PyModuleDef;

#define METH_NOARGS 4
#define METH_O 8
#define NO_METHOD {0, 0, 0, 0}
#define MODULE(name_, methods_) {{1, 0}, 0, 0, 0, name_, 0, -1, methods_, 0, 0, 0, 0}

extern PyObject *PyModule_Create2(PyModuleDef *, int);
extern PyObject *PyLong_FromLong(long);
extern long PyLong_AsLong(PyObject *);
extern PyObject *PyUnicode_FromString(const char *);
extern void PyErr_SetString(PyObject *, const char *);
extern PyObject *PyExc_ValueError;

#define PyModule_Create(definition) PyModule_Create2(definition, 1013)
#endif
