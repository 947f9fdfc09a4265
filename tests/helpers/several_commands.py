"""Runs `auxar` commands one after the other in processes of torch's launcher, in float64 or float32.

python -m torch.distributed.run --standalone --nproc_per_node N several_commands.py float64|float32 '["run", …]' …
"""

import json
import sys

import torch

from auxar.cli import main

if __name__ == "__main__":
    torch.set_default_dtype(getattr(torch, sys.argv[1]))
    for arguments in sys.argv[2:]:
        if code := main(json.loads(arguments)):
            sys.exit(code)
