"""`warren run`: a whole federation on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(
    epilog="\b\nExamples:\n  warren run digits --rounds 20\n  warren run job.toml --trainers 2 --set train.lr=0.05\n"
    "  warren run --resume @last\n  warren run job.toml --json > events.jsonl"
)
@click.argument("job", required=False, shell_complete=options.completed("job_or_task"))
@click.option("--rounds", type=click.IntRange(min=1), help="Instead of the job's.")
@options.settings
@options.params
@click.option(
    "--trainers",
    type=click.IntRange(1, 256),
    envvar="WARREN_TRAINERS",
    help="Training processes; default: one a core, at most 4.",
)
@click.option("--device", default="auto", show_default=True, envvar="WARREN_DEVICE", help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="WARREN_DATA_DIR",
    help="Given to the task as client.data_dir.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    envvar="WARREN_STORE",
    help="The folder that keeps runs.",
)
@click.option("--dry-run", is_flag=True, help="Show the whole resolved job, and run nothing.")
@click.option(
    "--resume",
    metavar="JOB",
    help="Go on with a run of that folder: an id, its start, or @last.",
    shell_complete=options.completed("jobs"),
)
@options.as_json
def run(
    job: str | None,
    rounds: int | None,
    settings: tuple[str, ...],
    params: tuple[str, ...],
    trainers: int | None,
    device: str,
    data_dir: Path | None,
    store: Path,
    dry_run: bool,
    resume: str | None,
    as_json: bool,
) -> int:
    """Train a federated model on this machine, without any server.

    JOB is a job file, a task file (.py), or the name of a task that ships. Ctrl-C stops after what is
    committed, and says how to go on.
    """
    from .running import RunOptions, resume_job, run_job

    told = RunOptions(store, trainers, device, data_dir, as_json)
    if (job is None) == (resume is None):
        raise click.UsageError("name a job to run, or one to --resume.")
    if resume is not None:
        if rounds or settings or params or dry_run:
            raise click.UsageError("--resume goes on with the job as it is: no --rounds, --set, -P or --dry-run.")
        return resume_job(resume, told)
    if rounds is not None:
        settings = (*settings, f"rounds={rounds}")
    if dry_run:
        from .submission import dry

        return dry(str(job), settings, params, data_dir=data_dir, as_json=as_json)
    return run_job(str(job), settings, params, told)
