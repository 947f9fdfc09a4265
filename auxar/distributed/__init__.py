"""Support for several processes that work on one run: starting, sharing work, watching each other and ending."""
