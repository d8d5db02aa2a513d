"""Installing a role as a service of systemd: what agent and cloud side share."""
