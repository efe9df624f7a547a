"""Server-sent events: the log as a stream over plain HTTP."""
