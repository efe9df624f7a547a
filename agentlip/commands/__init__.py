"""Ring 3: what may be asked of a hub, with every check of the input; knows neither Flask nor SQLite."""
