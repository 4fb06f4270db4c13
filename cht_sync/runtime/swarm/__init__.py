"""Environments as stacks of Docker Swarm: docs/swarm.md."""
