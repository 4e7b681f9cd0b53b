/* One term of one problem: from its points to its value and gradients. _native.c includes this after _sinkhorn.h, for float
 * and for double.
 */

static void NAME(target_rows)(NAME(Problem) *p, int start, int end, int chunk) {
    REAL product[ROWS][COLUMNS];
    const REAL *kernel[ROWS];
    int d = p->coordinate, coordinates = p->k - d < COLUMNS ? p->k - d : COLUMNS;
    (void)chunk;
    for (int first = start; first < end; first += ROWS) {
        int rows = end - first < ROWS ? end - first : ROWS;
        for (int r = 0; r < ROWS; r++) kernel[r] = p->kernel + (size_t)(first + (r < rows ? r : 0)) * p->m;
        NAME(product_tile)(product, kernel, p->packed, COLUMNS, p->m);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < coordinates; c++)
                p->mean[(size_t)(first + r) * p->k + d + c] = p->u[first + r] * product[r][c];
    }
}

/* Where the plan takes each x: mean (n, k) = sum_j P_ij y_j / sum_j P_ij, COLUMNS coordinates at a time. */
static void NAME(row_barycentres)(NAME(Problem) *p) {
    for (int d = 0; d < p->k; d += COLUMNS) {
        int coordinates = p->k - d < COLUMNS ? p->k - d : COLUMNS;
        for (int j = 0; j < p->m; j++)
            for (int c = 0; c < COLUMNS; c++)
                p->packed[(size_t)j * COLUMNS + c] =
                    c < coordinates ? p->v[j] * p->y[(size_t)(d + c) * p->stride + j] : 0;
        p->coordinate = d;
        NAME(over_rows)(p, NAME(target_rows));
    }
}

/* Where the plan takes each y: mean (k, m) = sum_i P_ij x_i / sum_i P_ij. */
static void NAME(column_barycentres)(NAME(Problem) *p) {
    REAL *mean = p->mean;
    memset(mean, 0, (size_t)p->m * (size_t)p->k * sizeof(REAL));
    for (int first = 0; first < p->m; first += BLOCK) {
        int points = p->m - first < BLOCK ? p->m - first : BLOCK;
        for (int i = 0; i < p->n; i++)
            for (int d = 0; d < p->k; d++) {
                REAL factor = p->a[i] * p->u[i] * p->x[(size_t)i * p->k + d];
                NAME(add_rows)(mean + (size_t)d * p->m + first, &factor, p->kernel + (size_t)i * p->m + first, 1, 0, points);
            }
    }
    for (int d = 0; d < p->k; d++)
        for (int j = 0; j < p->m; j++) mean[(size_t)d * p->m + j] /= p->column[j];
}

/* Points around their mean in units of the blur, and half their squared lengths. */
VECTORISED static void NAME(centre_points)(REAL *restrict centred, REAL *restrict half, const double *restrict points,
                                           const double *restrict mean, double per_blur, int n, int k) {
    for (size_t i = 0; i < (size_t)n; i++) {
        REAL square = 0;
#pragma omp simd reduction(+ : square)
        for (size_t d = 0; d < (size_t)k; d++) {
            REAL z = (REAL)((points[i * (size_t)k + d] - mean[d]) * per_blur);
            centred[i * (size_t)k + d] = z;
            square += z * z;
        }
        half[i] = square / 2;
    }
}

/* gradient_i = sign weight_i (point_i - target_i); coordinate d of target i stands, around `mean` in units of the blur,
 * at i * point_step + d * coordinate_step. */
VECTORISED static void NAME(point_gradients)(double *restrict gradients, double sign, const double *restrict weight,
                                             const double *restrict points, const REAL *restrict targets,
                                             size_t point_step, size_t coordinate_step, const double *restrict mean,
                                             double blur, int n, int k) {
    for (size_t i = 0; i < (size_t)n; i++) {
        double factor = sign * weight[i];
        for (size_t d = 0; d < (size_t)k; d++) {
            double target = blur * (double)targets[i * point_step + d * coordinate_step] + mean[d];
            gradients[i * (size_t)k + d] = factor * (points[i * (size_t)k + d] - target);
        }
    }
}

/* One term of one problem, from the inputs to the results. Returns 0, or -1 where memory is short. */
static int NAME(run)(const Term *term, double range, Goal goal) {
    size_t n = (size_t)term->n, m = (size_t)term->m, k = (size_t)term->k, most = n > m ? n : m;
    size_t stride = (m + COLUMNS - 1) / COLUMNS * COLUMNS;
    size_t chunks = (n + CHUNK - 1) / CHUNK;
    NAME(Problem) p = {.n = term->n, .m = term->m, .k = term->k, .stride = (int)stride, .chunks = (int)chunks};
    p.threads = term->threads;
    REAL **arrays[] = {&p.kernel, &p.x, &p.y,   &p.half_x, &p.half_y,  &p.a,    &p.u,
                       &p.b,      &p.v, &p.row, &p.column, &p.scratch, &p.mean, &p.packed};
    size_t sizes[] = {n * m, n * k, k * stride, n, stride, n, n, m, m, m, chunks * m, chunks * m, most * k, m * COLUMNS};
    size_t reals = 0, count = sizeof sizes / sizeof *sizes;
    for (size_t array = 0; array < count; array++) reals += sizes[array];
    double *memory = reserve((n + m + anderson_size(m)) * sizeof(double) + reals * sizeof(REAL));
    if (!memory) return -1;
    Anderson anderson;
    anderson_place(&anderson, memory, m);
    p.f = memory + anderson_size(m), p.g = p.f + n;
    REAL *next = (REAL *)(p.g + m);
    for (size_t array = 0; array < count; array++) *arrays[array] = next, next += sizes[array];
    NAME(copy)(p.a, term->a, p.n);
    NAME(copy)(p.b, term->b, p.m);
    memset(p.y, 0, k * stride * sizeof(REAL));
    memset(p.half_y, 0, stride * sizeof(REAL));
    NAME(centre_points)(p.x, p.half_x, term->x, term->mean_x, 1 / goal.blur, p.n, p.k);
    NAME(centre_points)(p.mean, p.half_y, term->y, term->mean_y, 1 / goal.blur, p.m, p.k);
    for (size_t j = 0; j < m; j++)
        for (size_t d = 0; d < k; d++) p.y[d * stride + j] = p.mean[j * k + d];

    Outcome outcome = term->symmetric ? NAME(solve_symmetric)(&p, goal) : NAME(solve)(&p, range, goal, &anderson);
    *term->marginal_error = outcome.marginal_error;
    *term->iterations = outcome.iterations;
    /* Costs between the clouds are those between the centred clouds, and what lies between their means. */
    double value = 0, between = 0, eps = goal.blur * goal.blur;
    for (size_t i = 0; i < n; i++) value += term->a[i] * p.f[i];
    for (size_t j = 0; j < m; j++) value += term->b[j] * p.g[j];
    for (size_t d = 0; d < k; d++) {
        double step = term->mean_x[d] - term->mean_y[d];
        between += step * step / 2;
        for (size_t i = 0; term->to_a && i < n; i++) p.f[i] += (double)p.x[i * k + d] * step / goal.blur;
        for (size_t j = 0; term->to_b && j < m; j++) p.g[j] -= (double)p.y[d * stride + j] * step / goal.blur;
    }
    *term->value = term->sign * (eps * (term->symmetric ? value / 2 : value) + between);
    for (size_t i = 0; term->to_a && i < n; i++) term->to_a[i] = term->sign * eps * p.f[i];
    for (size_t j = 0; term->to_b && j < m; j++) term->to_b[j] = term->sign * eps * p.g[j];
    if (term->to_x) {
        NAME(row_barycentres)(&p);
        NAME(point_gradients)(term->to_x, term->sign, term->a, term->x, p.mean, k, 1, term->mean_y, goal.blur, p.n, p.k);
    }
    if (term->to_y) {
        NAME(column_barycentres)(&p);
        NAME(point_gradients)(term->to_y, term->sign, term->b, term->y, p.mean, 1, m, term->mean_x, goal.blur, p.m, p.k);
    }
    release(memory);
    return 0;
}
