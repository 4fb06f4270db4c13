"""Proposing a model for a form from its reports: sample, columns, names, types, files."""
