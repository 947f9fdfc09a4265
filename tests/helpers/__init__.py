"""Helper functions that several test files share."""
