"""The functions behind the commands that use existing runs, and behind `auxar views`. `auxar.pipeline` creates runs."""
