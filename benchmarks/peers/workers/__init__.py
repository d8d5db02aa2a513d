"""The processes of the peers, one module each; run in the environment of that peer."""
