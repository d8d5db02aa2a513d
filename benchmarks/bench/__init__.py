"""`make bench`: how fast EdgeQA is, beside others, beside the limit, and as a service."""
