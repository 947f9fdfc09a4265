"""The functions behind the commands that use existing runs, and behind `auxar views`, `models` and `export`.

`auxar.pipeline` creates runs.
"""
