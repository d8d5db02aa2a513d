"""Who may do what: accounts, tokens and sessions."""
