"""`python -m auxar`, which is what `accelerate launch -m auxar` runs."""

import sys

from auxar.cli import main
from auxar.launching import start_missing_processes

if __name__ == "__main__":
    code = start_missing_processes(sys.argv[1:])
    sys.exit(main() if code is None else code)
