"""Work that processes share: chunks, of which any process takes the next one, process groups, and requests to end."""
