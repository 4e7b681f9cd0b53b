/* The numbers that this solver shares with those in Python: a test compares them with pkdot/transport/constants.py. */

#define MEMORY 6                  /* differences of points that Anderson's extrapolation remembers */
#define LONGEST_CORRECTION 30.0   /* a longer extrapolation is not trusted */
#define LOST 4.0                  /* a point this many times worse than the best one is lost */
#define RELAXATION (2.0 / 3.0)    /* step of a symmetric problem: the residual shrinks by a factor of 3 or more */
#define NARROW 64.0               /* costs that span less, in units of the temperature, need no annealing */
#define FIRST 64.0                /* wider costs start at the temperature at which they span this */
#define COOLING 2.0               /* factor by which the temperature falls */
#define FURTHEST 30.0             /* logarithm of a scaling at which the kernel is made anew */
#define LARGEST_EXPONENT 80.0     /* exp(80) and exp(-80) are normal numbers of single precision */

#define SHARED_CONSTANTS(each)                                                                                    \
    each(MEMORY) each(LONGEST_CORRECTION) each(LOST) each(RELAXATION) each(NARROW) each(FIRST) each(COOLING)      \
    each(FURTHEST) each(LARGEST_EXPONENT)
