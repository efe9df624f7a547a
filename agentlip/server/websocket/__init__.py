"""The WebSocket: its route, its bytes out and in."""
