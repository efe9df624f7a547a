"""Ring 3: the hub as a Flask application and extension. The only package that imports flask."""
