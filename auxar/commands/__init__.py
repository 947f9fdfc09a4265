"""The commands of auxar: a function for each, and the text of its result."""
