"""`python -m auxar`, which is what `accelerate launch -m auxar` runs."""

import sys

from auxar.cli import main
from auxar.distributed.launch import start_missing_processes

if __name__ == "__main__":
    try:
        code = start_missing_processes(sys.argv[1:])
    except KeyboardInterrupt:  # The processes have been told as well, and say so themselves.
        sys.exit(130)
    sys.exit(main() if code is None else code)
