"""The entry point of `python -m auxar`, which `accelerate launch -m auxar` runs too."""

import sys

from auxar.cli import main
from auxar.distributed.launch import start_missing_processes

if __name__ == "__main__":
    try:
        code = start_missing_processes(sys.argv[1:])
    except KeyboardInterrupt:  # The started processes get the signal too and print their own messages.
        sys.exit(130)
    sys.exit(main() if code is None else code)
