"""Black-box tests of the HTTP server: real processes, real sockets, docs/protocol.md as the only source."""
