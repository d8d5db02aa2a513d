"""Who belongs to the fleet: authorities, certificates and passwords, renewal and revocation."""
