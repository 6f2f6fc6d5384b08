"""The forms of requests and replies. Records from inside are turned into these at the edge."""
