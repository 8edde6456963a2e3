"""The embedded Hub: the Hub's HTTP API on loopback, faithful enough for the unmodified clients.

Bare git repositories hold commits, trees, refs and tags; one directory holds the large files of all repositories by
their hash; sqlite holds what git does not know (settings, tokens, collections, old names). `app.py` lists every route,
`daemon.py` starts and stops the server.
"""
