"""The web page: HTML rendered on the server, with what it needs beside it.

`pages.router` is all of it. A page reads with the queries that the API reads with; nothing here
writes but through what the API calls too.
"""
