"""The HTTP API: OpenAPI endpoints, live streams, the dashboard's static files."""
