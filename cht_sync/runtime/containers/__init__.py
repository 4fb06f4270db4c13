"""Environments as containers: `docker-compose.yml` started, watched and stopped, and what runs inside.

Outside: `compose` is the door to `docker compose`, `engine` asks the engine what is there, `running` starts
and stops an environment, `recorded` remembers it. Inside: `handed_out` gives each container the settings of
its service, and `with-settings` makes variables of them.
"""
