/* Sinkhorn's equations between two clouds, in the floating-point type REAL: _native.c includes this for float and double.
 *
 * Costs and potentials are in units of eps. The potentials are f_i = -log sum_j b_j exp(g_j - cost_ij), and g likewise.
 * The temperature falls to eps with one sweep at each level. Then one kernel K_ij = exp(f_i + g_j - cost_ij) replaces the
 * costs: its scalings u and v stay near 1, so that a sweep is two products with a vector and needs no exponentials. log v
 * is extrapolated (_anderson.h). solvers/large.py does the same in torch.
 */

typedef struct {
    int n, m, k, stride; /* stride: m, rounded up to whole tiles */
    REAL *x;       /* (n, k), centred, in units of the blur */
    REAL *y;       /* (k, stride), centred, in units of the blur */
    REAL *a, *b;   /* weights */
    REAL *half_x, *half_y; /* half the squared lengths of the points */
    REAL *kernel;  /* (n, m): the costs, then the kernel */
    REAL *u, *v;   /* scalings of its rows and columns; v includes b */
    REAL *row;     /* (m) of scratch */
    REAL *column;  /* (chunks, m), of which the first is the whole: a-weighted column sums of the kernel scaled by u */
    REAL *scratch; /* (chunks, m), a row for each chunk */
    REAL *mean;    /* (n, k) or (k, m), where the plan takes the points */
    REAL *packed;  /* (m, COLUMNS), some coordinates of y times v */
    double *f, *g; /* potentials */
    int chunks, threads, coordinate, without_costs;
    REAL scale;    /* inverse of the temperature */
} NAME(Problem);

/* Some work on the rows of a chunk. */
typedef void (*NAME(Rows))(NAME(Problem) *p, int first, int last, int chunk);

typedef struct {
    NAME(Problem) *p;
    NAME(Rows) rows;
    atomic_int next;
} NAME(Loop);

static void NAME(take_chunks)(void *argument) {
    NAME(Loop) *loop = argument;
    unsigned int before = flush_denormals();
    int chunk;
    while ((chunk = atomic_fetch_add(&loop->next, 1)) < loop->p->chunks) {
        int first = chunk * CHUNK, last = first + CHUNK < loop->p->n ? first + CHUNK : loop->p->n;
        loop->rows(loop->p, first, last, chunk);
    }
    restore_denormals(before);
}

/* Chunks, and the order in which their sums are added, do not depend on the number of threads: no digit of a result does. */
static void NAME(over_rows)(NAME(Problem) *p, NAME(Rows) rows) {
    NAME(Loop) loop = {p, rows, 0};
    in_parallel(NAME(take_chunks), &loop, p->threads < p->chunks ? p->threads : p->chunks);
}

static void NAME(sum_over_rows)(NAME(Problem) *p, NAME(Rows) rows) {
    memset(p->column, 0, (size_t)p->chunks * (size_t)p->m * sizeof(REAL));
    NAME(over_rows)(p, rows);
    for (int chunk = 1; chunk < p->chunks; chunk++)
        for (int j = 0; j < p->m; j++) p->column[j] += p->column[(size_t)chunk * (size_t)p->m + j];
}

/* exp(x) for x between -80 and 80, and beyond the value at the nearer end. No branches and no call, so that loops over it
 * vectorise: x = whole log 2 + r, a short series for exp(r), and 2^whole by adding to the bits of the exponent. */
static inline REAL NAME(exponential)(REAL x) {
    x = x < (REAL)-LARGEST_EXPONENT ? (REAL)-LARGEST_EXPONENT : x;
    x = x > (REAL)LARGEST_EXPONENT ? (REAL)LARGEST_EXPONENT : x;
    /* Adding 1.5 * 2^MANTISSA rounds x / log 2 to a whole number, which then stands in the lowest bits. */
    REAL shifted = x * (REAL)1.4426950408889634 + ROUNDER;
    REAL whole = shifted - ROUNDER;
    REAL result = EXPONENTIAL_SERIES(x - whole * LOG2_HIGH - whole * LOG2_LOW);
    BITS power, bits;
    memcpy(&power, &shifted, sizeof power);
    memcpy(&bits, &result, sizeof bits);
    bits += power << MANTISSA;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* result_i += sum_j matrix_ij vector_j, for rows that lie `stride` apart. Four rows at a time: each addition to one sum has
 * to wait for the one before, and four sums fill the wait. */
VECTORISED static void NAME(add_products)(REAL *restrict result, const REAL *restrict matrix, int rows, int stride,
                                          const REAL *restrict vector, int m) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        const REAL *r0 = matrix + (size_t)i * stride, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
        REAL s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int j = 0; j < m; j++) {
            s0 += r0[j] * vector[j], s1 += r1[j] * vector[j];
            s2 += r2[j] * vector[j], s3 += r3[j] * vector[j];
        }
        result[i] += s0, result[i + 1] += s1, result[i + 2] += s2, result[i + 3] += s3;
    }
    for (; i < rows; i++) {
        const REAL *r0 = matrix + (size_t)i * stride;
        REAL s0 = 0;
#pragma omp simd reduction(+ : s0)
        for (int j = 0; j < m; j++) s0 += r0[j] * vector[j];
        result[i] += s0;
    }
}

/* sum_j += sum_i factor_i matrix_ij. */
VECTORISED static void NAME(add_rows)(REAL *restrict sum, const REAL *restrict factor, const REAL *restrict matrix,
                                      int rows, int stride, int m) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        const REAL *r0 = matrix + (size_t)i * stride, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
        REAL f0 = factor[i], f1 = factor[i + 1], f2 = factor[i + 2], f3 = factor[i + 3];
#pragma omp simd
        for (int j = 0; j < m; j++) sum[j] += f0 * r0[j] + f1 * r1[j] + (f2 * r2[j] + f3 * r3[j]);
    }
    for (; i < rows; i++)
#pragma omp simd
        for (int j = 0; j < m; j++) sum[j] += factor[i] * matrix[(size_t)i * stride + j];
}

/* result_rc = sum_d left_r[d] right[d][c], for ROWS rows and COLUMNS columns; the rows of `right` lie `stride` apart. */
VECTORISED static void NAME(product_tile)(REAL result[ROWS][COLUMNS], const REAL *const left[ROWS],
                                          const REAL *restrict right, int stride, int length) {
    REAL tile[ROWS][COLUMNS] = {{0}}; /* a local array stays in the registers, where `result` might not */
    for (int d = 0; d < length; d++)
        for (int r = 0; r < ROWS; r++)
#pragma omp simd
            for (int c = 0; c < COLUMNS; c++) tile[r][c] += left[r][d] * right[(size_t)d * stride + c];
    memcpy(result, tile, sizeof tile);
}

VECTORISED static void NAME(costs_from_products)(REAL *restrict costs, REAL products[ROWS][COLUMNS],
                                                 const REAL *restrict half_x, const REAL *restrict half_y, int rows,
                                                 int columns, int stride) {
    for (int r = 0; r < rows; r++)
#pragma omp simd
        for (int c = 0; c < columns; c++) costs[(size_t)r * stride + c] = half_x[r] + half_y[c] - products[r][c];
}

/* The costs |x_i - y_j|^2 / 2 of ROWS rows from `first` on, or of fewer before `last`. */
static void NAME(cost_rows)(NAME(Problem) *p, int first, int last) {
    REAL products[ROWS][COLUMNS];
    const REAL *x[ROWS];
    int rows = last - first < ROWS ? last - first : ROWS;
    for (int r = 0; r < ROWS; r++) x[r] = p->x + (size_t)(first + (r < rows ? r : 0)) * p->k;
    for (int j = 0; j < p->m; j += COLUMNS) {
        int columns = p->m - j < COLUMNS ? p->m - j : COLUMNS;
        NAME(product_tile)(products, x, p->y + j, p->stride, p->k);
        NAME(costs_from_products)(p->kernel + (size_t)first * p->m + j, products, p->half_x + first, p->half_y + j, rows,
                                  columns, p->m);
    }
}

/* row_j <- exp(potential_j - scale cost_j - shift), where shift is the largest exponent; returns the shift, and in `sum`
 * what the row sums to with weights b. The row may be that of the costs. */
VECTORISED static REAL NAME(log_sum_exp)(REAL *row, const REAL *restrict potential, const REAL *cost, REAL scale,
                                         const REAL *restrict b, int m, REAL *restrict sum) {
    REAL shift = -INFINITY, total = 0;
#pragma omp simd reduction(max : shift)
    for (int j = 0; j < m; j++) {
        row[j] = potential[j] - scale * cost[j];
        shift = row[j] > shift ? row[j] : shift;
    }
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < m; j++) {
        row[j] = NAME(exponential)(row[j] - shift);
        total += b[j] * row[j];
    }
    *sum = total;
    return shift;
}

/* kernel_j <- exp(f + g_j - kernel_j), in place. */
VECTORISED static void NAME(gibbs_row)(REAL *restrict kernel, REAL f, const REAL *restrict g, int m) {
#pragma omp simd
    for (int j = 0; j < m; j++) kernel[j] = NAME(exponential)(f + g[j] - kernel[j]);
}

VECTORISED static void NAME(weighted_exponentials)(REAL *restrict result, const REAL *restrict weight,
                                                   const double *restrict x, int m) {
#pragma omp simd
    for (int j = 0; j < m; j++) result[j] = weight[j] * NAME(exponential)((REAL)x[j]);
}

static void NAME(copy)(REAL *result, const double *x, int m) {
    for (int j = 0; j < m; j++) result[j] = (REAL)x[j];
}

static void NAME(gibbs_rows)(NAME(Problem) *p, int first, int last, int chunk) {
    (void)chunk;
    for (int i = first; i < last; i++) {
        if ((i - first) % ROWS == 0) NAME(cost_rows)(p, i, last);
        NAME(gibbs_row)(p->kernel + (size_t)i * p->m, (REAL)p->f[i], p->row, p->m);
    }
}

/* The kernel of f and g. */
static void NAME(gibbs_kernel)(NAME(Problem) *p) {
    NAME(copy)(p->row, p->g, p->m);
    NAME(over_rows)(p, NAME(gibbs_rows));
}

/* f_i of some rows, and with it the rows of the plan, in `row` or, with a stride, in the rows of a matrix. Adds up the
 * column sums of the plan. Costs that are not in memory are computed on the way. */
static void NAME(softmin_rows)(NAME(Problem) *p, int first, int last, int chunk, REAL *row, size_t stride) {
    REAL *column = p->column + (size_t)chunk * (size_t)p->m;
    for (int i = first; i < last; i++, row += stride) {
        if (p->without_costs && (i - first) % ROWS == 0) NAME(cost_rows)(p, i, last);
        const REAL *cost = p->kernel + (size_t)i * p->m;
        REAL sum, shift = NAME(log_sum_exp)(row, p->v, cost, p->scale, p->b, p->m, &sum);
        p->f[i] = -((double)shift + log((double)sum));
        REAL factor = p->a[i] / sum;
        p->u[i] = 1 / sum;
        NAME(add_rows)(column, &factor, row, 1, 0, p->m);
    }
}

static void NAME(passing_rows)(NAME(Problem) *p, int first, int last, int chunk) {
    NAME(softmin_rows)(p, first, last, chunk, p->scratch + (size_t)chunk * (size_t)p->m, 0);
}

static void NAME(kept_rows)(NAME(Problem) *p, int first, int last, int chunk) {
    NAME(softmin_rows)(p, first, last, chunk, p->kernel + (size_t)first * (size_t)p->m, (size_t)p->m);
}

/* A sweep at temperature 1 / scale, with one reading of the costs: the rows of the plan are known as soon as f is, and its
 * column sums tell by how much g misses. With `kept` the rows of the plan replace the costs. */
static void NAME(log_sweep)(NAME(Problem) *p, double scale, int kept) {
    NAME(copy)(p->v, p->g, p->m);
    p->scale = (REAL)scale;
    NAME(sum_over_rows)(p, kept ? NAME(kept_rows) : NAME(passing_rows));
    p->without_costs = kept;
    for (int j = 0; j < p->m; j++) p->g[j] -= log((double)p->column[j] + SMALLEST);
}

VECTORISED static void NAME(scale_row)(REAL *restrict row, REAL factor, const REAL *restrict factors, int m) {
#pragma omp simd
    for (int j = 0; j < m; j++) row[j] *= factor * factors[j];
}

static void NAME(scale_rows)(NAME(Problem) *p, int first, int last, int chunk) {
    (void)chunk;
    for (int i = first; i < last; i++) NAME(scale_row)(p->kernel + (size_t)i * p->m, p->u[i], p->v, p->m);
}

/* One more sweep from g, and the kernel of its potentials. The sweep has computed the exponentials already: its rows only
 * have to be scaled by u and v, unless a column became so small that its digits are lost. */
static void NAME(make_kernel)(NAME(Problem) *p) {
    double furthest = 0;
    NAME(log_sweep)(p, 1, 1);
    for (int j = 0; j < p->m; j++) {
        furthest = fmax(furthest, -log((double)p->column[j] + SMALLEST));
        p->v[j] = 1 / (p->column[j] + (REAL)SMALLEST);
    }
    if (furthest < FURTHEST) {
        NAME(over_rows)(p, NAME(scale_rows));
        return;
    }
    NAME(gibbs_kernel)(p);
}

static void NAME(swept_rows)(NAME(Problem) *p, int start, int end, int chunk) {
    REAL *column = p->column + (size_t)chunk * (size_t)p->m;
    memset(p->u + start, 0, (size_t)(end - start) * sizeof(REAL));
    for (int first = start; first < end; first += 4) {
        int rows = end - first < 4 ? end - first : 4;
        const REAL *kernel = p->kernel + (size_t)first * p->m;
        REAL factor[4];
        NAME(add_products)(p->u + first, kernel, rows, p->m, p->v, p->m);
        for (int i = 0; i < rows; i++) {
            p->u[first + i] = 1 / p->u[first + i];
            factor[i] = p->a[first + i] * p->u[first + i];
        }
        NAME(add_rows)(column, factor, kernel, rows, p->m, p->m);
    }
}

/* u = 1 / K v, and the column sums of the kernel so scaled, in one reading of the kernel. */
static void NAME(kernel_sweep)(NAME(Problem) *p) { NAME(sum_over_rows)(p, NAME(swept_rows)); }

/* u = K v. */
static void NAME(multiplied_rows)(NAME(Problem) *p, int first, int last, int chunk) {
    (void)chunk;
    memset(p->u + first, 0, (size_t)(last - first) * sizeof(REAL));
    NAME(add_products)(p->u + first, p->kernel + (size_t)first * p->m, last - first, p->m, p->v, p->m);
}

static void NAME(fold_scalings)(NAME(Problem) *p, const double *log_v) {
    for (int i = 0; i < p->n; i++) p->f[i] += log((double)p->u[i]);
    for (int j = 0; j < p->m; j++) p->g[j] += log_v[j];
}

/* Potentials between x and y, and u, v with which the plan is a_i u_i K_ij v_j. */
static Outcome NAME(solve)(NAME(Problem) *p, double range, Goal goal, Anderson *anderson) {
    int m = p->m;
    p->without_costs = 1;
    memset(p->g, 0, (size_t)m * sizeof(double));
    double scale = range > NARROW ? FIRST / range : 1, next;
    for (; scale < 1; scale = next) {
        NAME(log_sweep)(p, scale, 0);
        next = scale * COOLING < 1 ? scale * COOLING : 1;
        centre(p->g, m);
        for (int j = 0; j < m; j++) p->g[j] *= next / scale;
    }
    NAME(make_kernel)(p);

    Outcome outcome = {INFINITY, 0};
    anderson_start(anderson, m);
    double *log_v = anderson->point;
    while (1) {
        NAME(weighted_exponentials)(p->v, p->b, log_v, m);
        NAME(kernel_sweep)(p);
        double error = 0;
        for (int j = 0; j < m; j++) {
            error += fabs((double)p->column[j] * (double)p->v[j] - (double)p->b[j]);
            anderson->weight[j] = (double)p->b[j];
            anderson->residual[j] = -log((double)p->column[j] + SMALLEST) - log_v[j];
        }
        outcome.iterations++;
        anderson_judge(anderson, error);
        if (anderson->least_error <= goal.tol || outcome.iterations >= goal.max_iter) break;
        anderson_advance(anderson);
        if (anderson_furthest(anderson) > FURTHEST) {
            /* A new kernel, from potentials that fit each other: only then do its entries stay in range. */
            for (int j = 0; j < m; j++) p->g[j] += log_v[j];
            NAME(make_kernel)(p);
            anderson_start(anderson, m);
        }
    }
    if (anderson_return_to_best(anderson)) {
        NAME(weighted_exponentials)(p->v, p->b, log_v, m);
        NAME(kernel_sweep)(p);
    }
    outcome.marginal_error = anderson->least_error;
    NAME(fold_scalings)(p, log_v);
    return outcome;
}

/* Potentials between x and itself: one potential, whose steps are relaxed. Leaves the last two iterates in g and f, the
 * later in f, and u and v with which the plan is a_i u_i K_ij v_j. The kernel needs no potentials to stay in range: the
 * cost between a point and itself is 0. */
static Outcome NAME(solve_symmetric)(NAME(Problem) *p, Goal goal) {
    int n = p->n;
    double *f_next = p->f, *f = p->g, relaxation = 0.5; /* the first step, from f = 0, is longest: half of it */
    memset(p->f, 0, (size_t)n * sizeof(double));
    memset(p->g, 0, (size_t)n * sizeof(double));
    NAME(gibbs_kernel)(p);
    Outcome outcome = {INFINITY, 0};
    while (1) {
        NAME(weighted_exponentials)(p->v, p->a, f, n);
        outcome.marginal_error = 0;
        NAME(over_rows)(p, NAME(multiplied_rows));
        for (int i = 0; i < n; i++) {
            outcome.marginal_error += fabs((double)p->v[i] * (double)p->u[i] - (double)p->a[i]);
            p->u[i] = 1 / p->u[i];
            f_next[i] = log((double)p->u[i]);
        }
        outcome.iterations++;
        if (outcome.marginal_error <= goal.tol || outcome.iterations >= goal.max_iter) break;
        for (int i = 0; i < n; i++) f[i] += (f_next[i] - f[i]) * relaxation;
        relaxation = RELAXATION;
    }
    return outcome;
}
