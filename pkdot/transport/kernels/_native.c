/* The transport engine on CPU, without torch's overhead for each operation. native_backend.py calls it.
 *
 * Every term of every problem (x to y, x to x, y to y) is a task. Threads take one task after the other; where there are
 * few and large tasks, they share the rows of one. The number of threads changes no digit of a result.
 */

#define _GNU_SOURCE /* RTLD_DEFAULT */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/* Loops are compiled several times, for old and new processors; the loader picks the version that fits the machine. So a
 * wheel runs everywhere of its family, and is as fast as one that was built on the machine. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#else
#define VECTORISED
#endif

#include "_constants.h"

#define BLOCK 256         /* points whose coordinates fit the nearest cache */
#define ROWS 6            /* of a tile of costs, which fits the registers */
#define COLUMNS 16
#define SMALLEST 1e-30    /* a column that receives nothing */
#define FLOAT_ROUNDING 6e-8
#define MOST_THREADS 64
#define CHUNK 512         /* rows that a thread takes at a time */
#define LARGE (1 << 20)   /* entries of a kernel on which several threads may work */
#define MOST_KEPT_BYTES ((size_t)1 << 25) /* of a thread */
#define HEADER 8          /* words */

enum { NO_MEMORY = 1, X_NOT_FINITE = 2, Y_NOT_FINITE = 4 };
#define ADDRESS(number) ((void *)(uintptr_t)(number))

typedef struct {
    double blur, tol;
    int max_iter;
} Goal;

typedef struct {
    double marginal_error;
    int iterations;
} Outcome;

/* One pair of weighted clouds, x (n, k) and y (m, k); where the results go, NULL where they are not wanted. A self term
 * counts with `sign` -1, and its value half. */
typedef struct {
    const double *x, *y, *a, *b;
    double *mean_x, *mean_y; /* (k) */
    int n, m, k, symmetric, threads;
    double sign;
    double *value, *marginal_error, *to_x, *to_y, *to_a, *to_b;
    int64_t *iterations;
} Term;

/* The weighted mean of points, around which they are nearest to zero and single precision has most digits. */
VECTORISED static void mean_of(double *restrict mean, const double *restrict points, const double *restrict weight, int n,
                               int k) {
    memset(mean, 0, (size_t)k * sizeof(double));
    for (size_t i = 0; i < (size_t)n; i++)
#pragma omp simd
        for (size_t d = 0; d < (size_t)k; d++) mean[d] += weight[i] * points[i * (size_t)k + d];
}

/* The largest distance of a point from the mean; NaN where the square of a point is not finite. */
VECTORISED static double radius(const double *restrict points, const double *restrict mean, int n, int k) {
    double largest = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        double square = 0, centred_square = 0;
#pragma omp simd reduction(+ : square, centred_square)
        for (size_t d = 0; d < (size_t)k; d++) {
            double z = points[i * (size_t)k + d], centred = z - mean[d];
            square += z * z;
            centred_square += centred * centred;
        }
        if (!isfinite(square)) return NAN;
        largest = fmax(largest, centred_square);
    }
    return sqrt(largest);
}

/* Memory is kept from call to call: new pages can cost more than a small problem does. Each block carries its size before
 * its first byte. */
static _Atomic(size_t *) kept[MOST_THREADS];

static void *reserve(size_t bytes) {
    for (int slot = 0; slot < MOST_THREADS; slot++) {
        size_t *block = atomic_exchange(&kept[slot], NULL);
        if (block && block[0] >= bytes) return block + HEADER;
        free(block);
        if (block) break;
    }
    size_t *block = malloc(bytes + HEADER * sizeof(size_t));
    if (block) block[0] = bytes;
    return block ? block + HEADER : NULL;
}

static void release(void *memory) {
    size_t *block = (size_t *)memory - HEADER, *nothing = NULL;
    for (int slot = 0; slot < MOST_THREADS; slot++, nothing = NULL)
        if (atomic_compare_exchange_strong(&kept[slot], &nothing, block)) return;
    free(block);
}

/* At the end of a call only small blocks are kept: a large one would take memory from the rest of the program. */
static void free_large_blocks(void) {
    for (int slot = 0; slot < MOST_THREADS; slot++) {
        size_t *block = atomic_exchange(&kept[slot], NULL);
        if (block && block[0] > MOST_KEPT_BYTES) free(block);
        else if (block) release(block + HEADER);
    }
}

/* Denormal numbers count as zero in a thread that computes: they are slow, and too small to matter here. */
static unsigned int flush_denormals(void) {
#if defined(__SSE__)
    unsigned int before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void restore_denormals(unsigned int before) {
#if defined(__SSE__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* The entrance to the thread pool of torch (OpenMP's). While that pool waits for work it spins and keeps the cores busy:
 * threads of our own would have to share the cores with it. */
typedef void (*Parallel)(void (*function)(void *), void *argument, unsigned threads, unsigned flags);
static Parallel parallel;

typedef struct {
    void (*function)(void *);
    void *argument;
} Errand;

static void *run_errand(void *argument) {
    Errand *errand = argument;
    errand->function(errand->argument);
    return NULL;
}

/* Call the function once in each thread. */
static void in_parallel(void (*function)(void *), void *argument, int threads) {
    pthread_t helpers[MOST_THREADS];
    Errand errand = {function, argument};
    int started = 0;
    if (threads > 1 && parallel) {
        parallel(function, argument, (unsigned)threads, 0);
        return;
    }
    while (started < threads - 1 && started < MOST_THREADS && !pthread_create(&helpers[started], NULL, run_errand, &errand))
        started++;
    function(argument);
    for (int t = 0; t < started; t++) pthread_join(helpers[t], NULL);
}

static void centre(double *potential, int m) {
    double mean = 0;
    for (int j = 0; j < m; j++) mean += potential[j] / m;
    for (int j = 0; j < m; j++) potential[j] -= mean;
}

#include "_anderson.h"

/* The headers below are included twice: REAL and NAME make of them one set of functions for float and one for double. */
#define REAL float
#define BITS int32_t
#define NAME(name) name##_float
#define MANTISSA 23
#define ROUNDER 12582912.0f
#define LOG2_HIGH 0.693145751953125f
#define LOG2_LOW 1.42860682030941723e-6f
#define EXPONENTIAL_SERIES(r) series_float(r)
static inline float series_float(float r) {
    return 1 + r * (1 + r * (0.5f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
}
#include "_sinkhorn.h"
#include "_term.h"
#undef REAL
#undef BITS
#undef NAME
#undef MANTISSA
#undef ROUNDER
#undef LOG2_HIGH
#undef LOG2_LOW
#undef EXPONENTIAL_SERIES

#define REAL double
#define BITS int64_t
#define NAME(name) name##_double
#define MANTISSA 52
#define ROUNDER 6755399441055744.0
#define LOG2_HIGH 6.93147180369123816490e-01
#define LOG2_LOW 1.90821492927058770002e-10
#define EXPONENTIAL_SERIES(r) series_double(r)
static inline double series_double(double r) {
    double p = 1 / 6227020800.0;
    p = 1 / 479001600.0 + r * p;
    p = 1 / 39916800.0 + r * p;
    p = 1 / 3628800.0 + r * p;
    p = 1 / 362880.0 + r * p;
    p = 1 / 40320.0 + r * p;
    p = 1 / 5040.0 + r * p;
    p = 1 / 720.0 + r * p;
    p = 1 / 120.0 + r * p;
    p = 1 / 24.0 + r * p;
    p = 1 / 6.0 + r * p;
    p = 0.5 + r * p;
    return 1 + r * (1 + r * p);
}
#include "_sinkhorn.h"
#include "_term.h"

/* The whole call: P problems with the terms xy, or xy and xx, or xy, xx and yy. Each term has its own place in the results,
 * one problem after the other. A cloud stands in at most two terms: its gradients have two places. */
typedef struct {
    const double *x, *y, *a, *b;
    double *value, *marginal_error, *to_x, *to_y, *to_a, *to_b;
    int64_t *iterations;
    int problems, n, m, k, terms, wide, threads_of_task;
    Goal goal;
    atomic_int next_task, failures;
} Call;

/* Where a result of one problem goes; NULL where it is not wanted. */
static double *block(double *results, size_t index, size_t size) { return results ? results + index * size : NULL; }

static Term term_of(const Call *call, int task) {
    size_t problem = (size_t)(task % call->problems), n = (size_t)call->n, m = (size_t)call->m, k = (size_t)call->k;
    const double *x = call->x + problem * n * k, *y = call->y + problem * m * k;
    const double *a = call->a + problem * n, *b = call->b + problem * m;
    Term term = {.x = x, .y = y, .a = a, .b = b, .n = call->n, .m = call->m, .k = call->k, .sign = 1};
    term.threads = call->threads_of_task;
    size_t second = (size_t)call->problems + problem;
    switch (task / call->problems) {
    case 0:
        term.to_x = block(call->to_x, problem, n * k), term.to_a = block(call->to_a, problem, n);
        term.to_y = block(call->to_y, problem, m * k), term.to_b = block(call->to_b, problem, m);
        break;
    case 1:
        term.y = x, term.b = a, term.m = call->n, term.symmetric = 1, term.sign = -1;
        term.to_x = block(call->to_x, second, n * k), term.to_a = block(call->to_a, second, n);
        break;
    default:
        term.x = y, term.a = b, term.n = call->m, term.symmetric = 1, term.sign = -1;
        term.to_x = block(call->to_y, second, m * k), term.to_a = block(call->to_b, second, m);
    }
    term.value = call->value + task, term.marginal_error = call->marginal_error + task;
    term.iterations = call->iterations + task;
    return term;
}

static void take_tasks(void *argument) {
    Call *call = argument;
    unsigned int before = flush_denormals();
    double *means = malloc(2 * (size_t)call->k * sizeof(double));
    int tasks = call->problems * call->terms, task;
    while ((task = atomic_fetch_add(&call->next_task, 1)) < tasks) {
        if (!means) {
            atomic_fetch_or(&call->failures, NO_MEMORY);
            continue;
        }
        Term term = term_of(call, task);
        term.mean_x = means, term.mean_y = means + call->k;
        mean_of(term.mean_x, term.x, term.a, term.n, term.k);
        mean_of(term.mean_y, term.y, term.b, term.m, term.k);
        double radius_x = radius(term.x, term.mean_x, term.n, term.k), radius_y = radius(term.y, term.mean_y, term.m, term.k);
        double range = (radius_x + radius_y) * (radius_x + radius_y) / 2 / (call->goal.blur * call->goal.blur);
        if (!isfinite(range)) {
            int of_y = isfinite(radius_x) || task >= 2 * call->problems;
            atomic_fetch_or(&call->failures, of_y ? Y_NOT_FINITE : X_NOT_FINITE);
            continue;
        }
        int wide = call->wide || range * FLOAT_ROUNDING > call->goal.tol;
        if ((wide ? run_double : run_float)(&term, range, call->goal)) atomic_fetch_or(&call->failures, NO_MEMORY);
    }
    free(means);
    restore_denormals(before);
}

static void add_second(double *gradient, size_t problems, size_t size) {
    for (size_t e = 0; gradient && e < problems * size; e++) gradient[e] += gradient[problems * size + e];
}

/* The terms of each problem become its divergence, in the place of the first term. */
static void add_terms(const Call *call) {
    size_t problems = (size_t)call->problems;
    for (size_t task = problems; task < problems * (size_t)call->terms; task++) {
        size_t p = task % problems;
        call->value[p] += call->value[task];
        call->marginal_error[p] = fmax(call->marginal_error[p], call->marginal_error[task]);
        if (call->iterations[p] < call->iterations[task]) call->iterations[p] = call->iterations[task];
    }
    if (call->terms > 1) {
        add_second(call->to_x, problems, (size_t)call->n * (size_t)call->k);
        add_second(call->to_a, problems, (size_t)call->n);
    }
    if (call->terms > 2) {
        add_second(call->to_y, problems, (size_t)call->m * (size_t)call->k);
        add_second(call->to_b, problems, (size_t)call->m);
    }
}

static PyObject *solve_terms(PyObject *self, PyObject *arguments) {
    (void)self;
    Call call = {0};
    unsigned long long x, y, a, b, value, error, iterations, to_x, to_y, to_a, to_b;
    int threads;
    if (!PyArg_ParseTuple(arguments, "KKKKiiiiiiddiiKKKKKKK:solve_terms", &x, &y, &a, &b, &call.problems, &call.n, &call.m,
                          &call.k, &call.terms, &call.wide, &call.goal.blur, &call.goal.tol, &call.goal.max_iter, &threads,
                          &value, &error, &iterations, &to_x, &to_y, &to_a, &to_b))
        return NULL;
    call.x = ADDRESS(x), call.y = ADDRESS(y), call.a = ADDRESS(a), call.b = ADDRESS(b);
    call.value = ADDRESS(value), call.marginal_error = ADDRESS(error), call.iterations = ADDRESS(iterations);
    call.to_x = ADDRESS(to_x), call.to_y = ADDRESS(to_y), call.to_a = ADDRESS(to_a), call.to_b = ADDRESS(to_b);
    Py_BEGIN_ALLOW_THREADS;
    /* Where there are few tasks and each is large, threads share the rows of one, and one kernel is in memory. */
    int tasks = call.problems * call.terms;
    int shared = tasks < 2 * threads && (int64_t)call.n * call.m >= LARGE;
    call.threads_of_task = shared ? threads : 1;
    in_parallel(take_tasks, &call, shared ? 1 : threads < tasks ? threads : tasks);
    add_terms(&call);
    free_large_blocks();
    Py_END_ALLOW_THREADS;
    int failures = call.failures;
    if (failures & NO_MEMORY) return PyErr_NoMemory();
    if (failures) {
        PyErr_Format(PyExc_ValueError, "%s holds NaN, infinity or values whose squares overflow; expected finite points.",
                     failures & X_NOT_FINITE ? "x" : "y");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"solve_terms", solve_terms, METH_VARARGS, "Solve the terms of a batch of Sinkhorn divergences."},
    {NULL, NULL, 0, NULL},
};

/* The dictionary that the test compares. */
static PyObject *shared_constants(void) {
    PyObject *constants = PyDict_New(), *number;
#define ADD(name)                                                                                                 \
    number = constants ? PyFloat_FromDouble(name) : NULL;                                                         \
    if (number && PyDict_SetItemString(constants, #name, number)) Py_CLEAR(constants);                            \
    Py_XDECREF(number);
    SHARED_CONSTANTS(ADD)
#undef ADD
    return constants;
}

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    parallel = (Parallel)dlsym(RTLD_DEFAULT, "GOMP_parallel"); /* torch is loaded already */
    PyObject *self = PyModule_Create(&module), *constants = self ? shared_constants() : NULL;
    if (constants && !PyModule_AddObject(self, "constants", constants)) return self;
    Py_XDECREF(constants);
    Py_XDECREF(self);
    return NULL;
}
