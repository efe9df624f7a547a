"""Ring 2: the live path. It knows neither Flask nor SQL."""
