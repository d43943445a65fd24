"""What `commonpool tune` makes of a bad ``uwsgi.ini``: `make tune-demo`."""
