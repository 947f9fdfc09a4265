"""Work that processes share: numbered chunks, of which any process that runs the same command takes the next one."""
