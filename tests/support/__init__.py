"""What tests of several roles share: a real broker, a fake agent."""
