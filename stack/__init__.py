"""The reference stack: a Flask application on real data that shows commonpool at work."""
