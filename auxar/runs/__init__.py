"""A run's folder: its layout, its lock and its records."""
