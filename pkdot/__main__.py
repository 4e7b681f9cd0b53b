"""``python -m pkdot`` is ``pkdot``."""

import sys

from pkdot.cli.overview import main

if __name__ == "__main__":
    sys.exit(main())
