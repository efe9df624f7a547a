"""Who may come in: tokens, logins, origins, host names, proxies, and limits on how often."""
