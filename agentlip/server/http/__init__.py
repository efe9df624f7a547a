"""The HTTP API: the table of endpoints, one file per noun, and the way of a call to them and back."""
