"""The functions behind the commands that use existing runs. `auxar.pipeline` creates runs."""
