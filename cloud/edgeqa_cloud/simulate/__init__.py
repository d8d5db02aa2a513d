"""A fleet of simulated devices in one process, with the real contract and the real outbox."""
