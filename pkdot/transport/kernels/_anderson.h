/* Anderson's extrapolation of the fixed-point iteration point <- point + residual for one problem, as in anderson.py.
 *
 * Differences of the last points and residuals model how the residual depends on the point. The next point is where this
 * model predicts the smallest residual, plus the plain step from there. Everything is in double precision: differences of
 * points that have almost converged have few digits left.
 */

typedef struct {
    int size, kept, slot;
    double *point, *residual, *weight;    /* (size) */
    double *last_point, *last_residual;   /* (size) */
    double *best;                         /* (size) the point of least error */
    double *moves, *changes;              /* (MEMORY, size) differences of points and of residuals */
    double gram[MEMORY][MEMORY];          /* weighted products of the changes */
    double error, least_error;
    int lost;                             /* the point is much worse than the best one */
} Anderson;

static size_t anderson_size(size_t size) { return (6 + 2 * MEMORY) * size; }

static void anderson_place(Anderson *s, double *memory, size_t size) {
    double **vectors[] = {&s->point, &s->residual, &s->weight, &s->last_point, &s->last_residual, &s->best};
    for (int v = 0; v < 6; v++) *vectors[v] = memory + (size_t)v * size;
    s->moves = memory + 6 * size;
    s->changes = s->moves + MEMORY * size;
}

/* Start at the origin, and remember nothing. */
static void anderson_start(Anderson *s, int size) {
    s->size = size;
    s->kept = -1;
    s->slot = 0;
    s->least_error = INFINITY;
    memset(s->point, 0, (size_t)size * sizeof(double));
}

VECTORISED static double weighted_product(const double *restrict w, const double *restrict x, const double *restrict y,
                                          int size) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < size; j++) sum += w[j] * x[j] * y[j];
    return sum;
}

/* Note the error of the current point, and whether it is the best one or lost. The residual is centred first: f + c and
 * g - c are the same potentials, and a constant that drifts would cost digits. */
static void anderson_judge(Anderson *s, double error) {
    double mean = 0;
    for (int j = 0; j < s->size; j++) mean += s->weight[j] * s->residual[j];
    for (int j = 0; j < s->size; j++) s->residual[j] -= mean;
    s->error = error;
    s->lost = !(error <= LOST * s->least_error); /* also where the error is NaN */
    if (error < s->least_error) {
        s->least_error = error;
        memcpy(s->best, s->point, (size_t)s->size * sizeof(double));
    }
}

/* The coefficients that minimise the weighted |residual - changes coefficients|, by a Cholesky factor. The ridge keeps the
 * factor positive where the changes are almost parallel, which they become near the solution. */
static void anderson_coefficients(Anderson *s, double *coefficients) {
    double factor[MEMORY][MEMORY], ridge = 1e-300;
    for (int p = 0; p < s->kept; p++) ridge += 1e-14 * s->gram[p][p];
    for (int p = 0; p < s->kept; p++) {
        coefficients[p] = weighted_product(s->weight, s->changes + (size_t)p * s->size, s->residual, s->size);
        for (int q = 0; q <= p; q++) {
            double sum = s->gram[p][q] + (p == q ? ridge : 0);
            for (int r = 0; r < q; r++) sum -= factor[p][r] * factor[q][r];
            factor[p][q] = p == q ? sqrt(fmax(sum, ridge)) : sum / factor[q][q];
        }
    }
    for (int p = 0; p < s->kept; p++) {
        for (int q = 0; q < p; q++) coefficients[p] -= factor[p][q] * coefficients[q];
        coefficients[p] /= factor[p][p];
    }
    for (int p = s->kept - 1; p >= 0; p--) {
        for (int q = p + 1; q < s->kept; q++) coefficients[p] -= factor[q][p] * coefficients[q];
        coefficients[p] /= factor[p][p];
    }
}

/* The next point: extrapolated, or the best one again where the last one was lost. */
static void anderson_advance(Anderson *s) {
    int size = s->size;
    if (s->lost) {
        memcpy(s->point, s->best, (size_t)size * sizeof(double));
        s->kept = -1;
        s->slot = 0;
        return;
    }
    if (s->kept >= 0) {
        double *move = s->moves + (size_t)s->slot * size, *change = s->changes + (size_t)s->slot * size;
        for (int j = 0; j < size; j++) {
            move[j] = s->point[j] - s->last_point[j];
            change[j] = s->residual[j] - s->last_residual[j];
        }
        if (s->kept < MEMORY) s->kept++;
        for (int p = 0; p < s->kept; p++)
            s->gram[p][s->slot] = s->gram[s->slot][p] =
                weighted_product(s->weight, change, s->changes + (size_t)p * size, size);
        s->slot = (s->slot + 1) % MEMORY;
    } else {
        s->kept = 0;
    }
    memcpy(s->last_point, s->point, (size_t)size * sizeof(double));
    memcpy(s->last_residual, s->residual, (size_t)size * sizeof(double));
    double coefficients[MEMORY], longest = 0;
    anderson_coefficients(s, coefficients);
    for (int j = 0; j < size; j++) {
        double correction = 0;
        for (int p = 0; p < s->kept; p++)
            correction += coefficients[p] * (s->moves[(size_t)p * size + j] + s->changes[(size_t)p * size + j]);
        s->point[j] += s->residual[j] - correction;
        longest = fmax(longest, fabs(correction));
    }
    if (!(longest <= LONGEST_CORRECTION)) { /* The model of the last points does not hold here: forget them. */
        for (int j = 0; j < size; j++) s->point[j] = s->last_point[j] + s->residual[j];
        s->kept = -1;
        s->slot = 0;
    }
}

static double anderson_furthest(const Anderson *s) {
    double furthest = 0;
    for (int j = 0; j < s->size; j++) furthest = fmax(furthest, fabs(s->point[j]));
    return furthest;
}

/* Go back to the best point; return whether the current point was another one. */
static int anderson_return_to_best(Anderson *s) {
    if (s->error <= s->least_error) return 0;
    memcpy(s->point, s->best, (size_t)s->size * sizeof(double));
    return 1;
}
