"""The chain that a request goes through, read from the files and servers that make it up.

client -> nginx -> uWSGI -> pool -> engine -> database. What is read is shared by
`commonpool doctor` and `commonpool tune`; nothing here changes anything.
"""
