"""The application in a container: checks its settings, and runs uWSGI on a socket of its own."""
