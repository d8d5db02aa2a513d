"""The agent: answers questions on the device."""
