"""The trackers: TensorBoard, MLflow, Weights & Biases. Each runs in a process of its own (`tracker_main`)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

METRICS_IN_ONE = 500  # MLflow takes 1,000 in one request
_MARK = ".warren"  # ends the names of our event files
_ENDS = {"done": "FINISHED", "cancel": "KILLED", "fail": "FAILED"}


class Unusable(Exception):
    """This tracker can't be used here, now or later; the words say what to change."""


class Tracker(Protocol):
    """Is told a job's rounds. May raise whatever its package does; it is then started anew and told all again."""

    def log(self, round_number: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Numbers of one round; a round comes several times, with other names, and never in a fixed order.

        Args:
            round_number: the step.
            metrics: finite ones, by names such as `validation/loss`.
            seconds: when they were made, since 1970.
        """
        ...

    def close(self, end: str) -> None:
        """No more to come. End: `done`, `cancel`, `fail`, or empty where the job goes on elsewhere."""
        ...


class TensorBoard:
    """Event files in `tensorboard/<job>`. Those of an earlier telling are replaced: no point is there twice."""

    def __init__(self, job: str, experiment: str, settings: Mapping[str, str], folder: Path | None) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        place = _needed(folder) / "tensorboard" / job
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob(f"events.out.tfevents.*{_MARK}"):
            old.unlink(missing_ok=True)
        self._writer = EventFileWriter(str(place), filename_suffix=_MARK)
        self._write_settings(settings)

    def _write_settings(self, settings: Mapping[str, str]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.text.summary_v2 import text_pb

        table = "\n".join(["| setting | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in settings.items())])
        self._writer.add_event(Event(step=0, wall_time=time.time(), summary=text_pb("settings", table)))

    def log(self, round_number: int, metrics: Mapping[str, float], seconds: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=_single(value)) for name, value in metrics.items()]
        self._writer.add_event(Event(step=round_number, wall_time=seconds, summary=Summary(value=values)))
        self._writer.flush()

    def close(self, end: str) -> None:
        self._writer.close()


class MLflow:
    """A run at `MLFLOW_TRACKING_URI`, or in `mlflow/mlflow.db`: found again by its tag, so a job is one run."""

    def __init__(self, job: str, experiment: str, settings: Mapping[str, str], folder: Path | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        from mlflow.tracking import MlflowClient

        address, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not address:
            place = _needed(folder) / "mlflow"
            place.mkdir(parents=True, exist_ok=True)
            address, artifacts = f"sqlite:///{place.resolve()}/mlflow.db", (place.resolve() / "artifacts").as_uri()
        self._client = MlflowClient(tracking_uri=address)
        self._known: dict[str, set[int]] = {}
        found = self._client.get_experiment_by_name(experiment)
        place_of = found.experiment_id if found else self._client.create_experiment(experiment, artifacts)
        runs = self._client.search_runs([place_of], f"tags.`warren.job` = '{job}'", max_results=1)
        self._again = bool(runs)
        self._run = runs[0].info.run_id if runs else self._begin(place_of, job, settings)
        if runs:
            self._client.update_run(self._run, status="RUNNING")

    def _begin(self, experiment_id: str, job: str, settings: Mapping[str, str]) -> str:
        from mlflow.entities import Param

        run = self._client.create_run(experiment_id, tags={"warren.job": job}, run_name=job)
        params = [Param(_plain(name), value) for name, value in settings.items()]
        for start in range(0, len(params), 100):  # as many as one request takes
            self._client.log_batch(run.info.run_id, params=params[start : start + 100])
        return str(run.info.run_id)

    def log(self, round_number: int, metrics: Mapping[str, float], seconds: float) -> None:
        from mlflow.entities import Metric

        named = {_plain(name): value for name, value in metrics.items()}
        at = int(seconds * 1000)
        new = [Metric(n, v, at, round_number) for n, v in named.items() if round_number not in self._told(n)]
        for start in range(0, len(new), METRICS_IN_ONE):
            self._client.log_batch(self._run, metrics=new[start : start + METRICS_IN_ONE])

    def _told(self, name: str) -> set[int]:
        """The rounds of this metric that the run had before it was taken up again."""
        if self._again and name not in self._known:
            self._known[name] = {one.step for one in self._client.get_metric_history(self._run, name)}
        return self._known.get(name, set())

    def close(self, end: str) -> None:
        if end:
            self._client.set_terminated(self._run, status=_ENDS.get(end, "FINISHED"))


class WandB:
    """A run of Weights & Biases, offline in `wandb/` unless `WANDB_API_KEY` or `WANDB_MODE` says otherwise.

    An offline run can't be gone on with: each telling is a run of its own, whole, in a group named after the job.
    Sends numbers and settings only: no console, code, machine or system metrics.
    """

    def __init__(self, job: str, experiment: str, settings: Mapping[str, str], folder: Path | None) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        place = _needed(folder)
        place.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=experiment, name=job, group=job, config=dict(settings), dir=str(place), mode=mode, settings=quiet
        )
        self._run.define_metric("round")
        self._run.define_metric("*", step_metric="round")  # W&B's own step must grow, and evaluations come late

    def log(self, round_number: int, metrics: Mapping[str, float], seconds: float) -> None:
        self._run.log({**metrics, "round": round_number})

    def close(self, end: str) -> None:
        if end:
            self._run.summary["state"] = end
        self._run.finish(exit_code=1 if end == "fail" else 0)


def _needed(folder: Path | None) -> Path:
    if folder is None:
        raise Unusable("has no folder: start the aggregator with --tracking DIR")
    return folder


def _single(value: float) -> float:
    """Within float32, which event files hold."""
    return max(-3.4e38, min(3.4e38, value))


def _plain(name: str) -> str:
    """Only what MLflow takes in a name."""
    return re.sub(r"[^\w. /-]", "_", name, flags=re.ASCII)[:250]


TRACKERS: Mapping[str, Callable[[str, str, Mapping[str, str], Path | None], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
