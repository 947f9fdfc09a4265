"""A run's folder: its layout, format, lock, records and weights, and functions that create and open it."""
