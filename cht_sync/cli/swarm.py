"""A stack for Docker Swarm."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option
from cht_sync.environments import Environment
from cht_sync.runtime.swarm import stack
from cht_sync.settings import default_home


@main.command("swarm-stack", short_help="Write a stack for Docker Swarm.")
@environment_option
@click.option(
    "--file",
    "own",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="A compose file of yours that comes on top; may be repeated.",
)
def swarm_stack(environment: str, own: tuple[Path, ...]) -> None:
    """Check all settings and write gamma or prod as a stack for `docker stack deploy`.

    It is made of docker-compose.yml and deploy/swarm/overlay.yml. Each service's settings become secrets of
    the swarm. The stack, and the files of these secrets, are written into .cht-sync/swarm; the command that
    deploys it is printed. Nothing is started, and no engine is asked.

    Example: cht-sync swarm-stack --env prod
    """
    wanted = Environment(environment)
    made = stack.write(wanted, home=default_home(), own=own, environ=os.environ)
    click.echo(f"Settings for {wanted} are good: {', '.join(made.services)}")
    if made.unpublished:
        click.echo(
            f"Not published: {', '.join(made.unpublished)}. A swarm publishes at every address of every "
            "node, which PUBLISH_ADDRESS=0.0.0.0 allows"
        )
    file = shlex.quote(os.path.relpath(made.file))
    click.echo(f"Deploy it: docker stack deploy --with-registry-auth --compose-file {file} {made.name}")
