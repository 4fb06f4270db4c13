"""Settings for a cluster of Kubernetes."""

from __future__ import annotations

import os
import sys

import click
import yaml

from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime import kubernetes
from cht_sync.runtime.containers.handed_out import handed_out
from cht_sync.runtime.containers.inside import settings_of_project
from cht_sync.settings import STATE_FOLDER, default_home

EXAMPLE = "cht-sync kubernetes-settings --env {} | kubectl apply --server-side -n cht-sync -f -"
THIS_MACHINE = "10.0.0.1"
"""For examples: inside a cluster there is no name for the machine that a pod runs on."""


@main.command("kubernetes-settings", short_help="Write settings as ConfigMaps and Secrets.")
@environment_option
def kubernetes_settings(environment: str) -> None:
    """Check all settings and write each service's own as a ConfigMap and a Secret of Kubernetes.

    They are written to standard output, for kubectl alone: not to a terminal. For local, secrets are made
    where none are set, and kept in .cht-sync/kubernetes/local.

    Example: cht-sync kubernetes-settings --env prod | kubectl apply --server-side -n cht-sync -f -
    """
    wanted = Environment(environment)
    if sys.stdout.isatty():
        raise SettingsError(
            ["these are secrets, which a terminal would show"], hint=f"Hand them on: {EXAMPLE.format(wanted)}"
        )
    home = default_home()
    settings = settings_of_project(
        wanted,
        home,
        (),
        environ=os.environ,
        secrets=home / STATE_FOLDER / "kubernetes" / wanted.value,
        this_machine=THIS_MACHINE,
    )
    found = list(kubernetes.objects(wanted, handed_out(settings)))
    click.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)
    click.echo(f"Settings for {wanted} are good: {len(found)} objects", err=True)
