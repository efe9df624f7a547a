"""The Python client of a hub."""
