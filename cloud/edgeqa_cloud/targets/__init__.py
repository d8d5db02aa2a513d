"""Which devices are meant: a query language, and the devices that a rollout's target names."""
