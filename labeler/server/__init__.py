"""What answers HTTP requests; labeler/api.py puts it together."""
