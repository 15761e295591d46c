"""The job contracts that every part of Headrace shares.

Pure: pydantic and the standard library. Nothing here opens a connection, reads a clock or starts a
thread, so every service, the client and every plug-in can import it cheaply.
"""
