"""What the hub adds to gunicorn: a worker, settings, and hooks for start and end."""
