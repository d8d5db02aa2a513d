"""The REST API: what programs and the web page ask of the cloud, over HTTP."""
