"""Parts of the measurement of what goes over the wire."""
