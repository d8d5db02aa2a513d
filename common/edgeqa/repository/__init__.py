"""A client of model repositories, by The Update Framework: for the agent and the cloud.

Apart from `catalogue`, which needs tuf, and `web_origin`, which needs urllib3, nothing here needs
more than `edgeqa` itself does.
"""
