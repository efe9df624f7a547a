"""Ring 1: the SQLite file. The only package that imports sqlite3."""
