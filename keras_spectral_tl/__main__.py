"""`python -m keras_spectral_tl`."""

import sys

from keras_spectral_tl.commands import main

if __name__ == "__main__":
    sys.exit(main())
