"""Processes that work on one run together: how they start, share work, watch each other and end."""
