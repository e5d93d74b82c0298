"""`python -m turbulence_data`."""

import sys

from turbulence_data.cli import main

if __name__ == "__main__":
    sys.exit(main())
