"""Dates in patterns: Joda-Time's (`%{+YYYY}` and the filter date) and java.time's (`%{{yyyy}}`)."""
