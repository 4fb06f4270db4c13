"""Requests to any HTTP server, as logstash-output-http makes them."""
