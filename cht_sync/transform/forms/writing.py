"""Writing a proposal into a dbt project."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.files import write_atomically
from cht_sync.transform.forms.files import SQL, yaml_text
from cht_sync.transform.forms.models import ProjectModels
from cht_sync.transform.forms.names import model_name
from cht_sync.transform.forms.proposal import Proposal

READABLE = 0o644


@dataclass(frozen=True)
class Written:
    """A model and its two files."""

    model: str
    files: tuple[Path, Path]


def write(
    proposal: Proposal,
    models: ProjectModels,
    tables: Collection[str],
    *,
    output: Path | None = None,
    force: bool = False,
) -> Written:
    """Write the two files of a form's model, into `output` or where the project has its forms.

    A form that has a model keeps its name. `tables` are relations that are there already where models
    write; none of them is taken for a new model. Raises ChtSyncError where a file is there, but with `force`.
    """
    model = models.forms.get(proposal.form)
    if model is None:
        model = model_name(proposal.form, {*models.names, *tables})
        folder = output or models.folder
    else:
        folder = output or models.names[model].parent
    files = (folder / f"{model}.yml", folder / f"{model}.sql")
    described = models.properties.get(model, files[0])
    if output is None and described.resolve() != files[0].resolve():
        raise ChtSyncError(
            f"the columns of {model} are in {described}, with others", hint="Change them there, or: --output"
        )
    there = [file for file in files if file.exists() or file.is_symlink()]
    if there and not force:
        raise ChtSyncError(
            f"the form {proposal.form!r} has a model already: {there[0]}", hint="To write it anew: --force"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # The columns first: a run that comes between finds no model, rather than one without columns.
    write_atomically(files[0], yaml_text(model, proposal), mode=READABLE)
    write_atomically(files[1], SQL, mode=READABLE)
    return Written(model, files)
