"""The numbers that the solvers share, for torch, Triton and C. A test compares those of C.

Potentials, costs and logarithms of scalings are in units of eps, the strength of the entropy.
"""

from typing import NamedTuple


class Annealing(NamedTuple):
    """How the temperature falls to eps before the sweeps begin.

    Attributes:
        narrow: costs that span less need no annealing.
        first: wider costs start at the temperature at which they span this.
        cooling: factor by which the temperature falls.

    >>> Annealing(narrow=256.0, first=64.0, cooling=2.0).hottest(1024.0)
    16.0
    """

    narrow: float
    first: float
    cooling: float

    def hottest(self, span: float) -> float:
        """The first temperature for costs up to ``span``; 1 is that of eps."""
        return max(span / self.first, 1.0) if span > self.narrow else 1.0


# Problems with cost matrices start where their costs span 1: there a few iterations solve them.
COOLING = 2.0
# A thousand points and more: annealing saves one or two sweeps, and costs ten exponentials of the whole matrix.
LARGE_ANNEALING = Annealing(narrow=256.0, first=256.0, cooling=2.0)
NATIVE_ANNEALING = Annealing(narrow=64.0, first=64.0, cooling=2.0)
# One sweep at each temperature in single precision needs smaller steps.
TRITON_ANNEALING = Annealing(narrow=256.0, first=64.0, cooling=1.5)

# Differences of points that Anderson's extrapolation remembers. Triton keeps them orthonormal, at a power of 2.
MEMORY, TRITON_MEMORY = 6, 8
# A longer extrapolation, or one that is not a number: the model of the last points does not hold.
LONGEST_CORRECTION = 30.0
# A point this many times worse than the best one is lost: the problem returns to the best one.
LOST = 4.0
# The step of a symmetric problem: the residual shrinks by a factor of 3 or more with each sweep.
RELAXATION = 2.0 / 3.0

# torch's exp on CPU is a hundred times slower where it underflows, and e^-80 is negligible beside the largest term, 1.
SMALLEST_EXPONENT = -80.0
# A residual beyond counts as this much: its exponential is still a normal number of single precision.
LARGEST_EXPONENT = 80.0
# Scalings of a kernel this far from 1, as logarithms, leave the range of single precision: it is made anew.
FURTHEST = 30.0
# exp(-cost) and exp(potential), whose range is twice the cost's, must stay representable in float64.
LARGEST_KERNEL_COST = 220.0

# The gradient is first order in the marginal error, where the value is second order: aim beyond the tolerance, and
# further where another digit costs next to nothing.
MARGIN, NEWTON_MARGIN = 10.0, 1e3
# The marginal error that single precision reaches.
SINGLE_TOL = 2e-5
# The same for the kernels of Triton, whose costs too are in single precision: a part for all costs, and one that
# grows with their span.
TRITON_FLOOR, TRITON_FLOOR_OF_RANGE = 2e-6, 1e-8
# A Newton step costs the cube of the number of points, a sweep its square: more points are swept.
SMALL = 384
