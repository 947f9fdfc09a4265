"""`python -m auxar`, which is what `accelerate launch -m auxar` runs."""

import sys

from auxar.cli import main

if __name__ == "__main__":
    sys.exit(main())
