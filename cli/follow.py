"""The other processes of a run on several: they train with the first one, and neither say nor write anything."""

import os
from contextlib import redirect_stderr

from tsjepa.build import build_model
from tsjepa.cli.options import PretrainOptions
from tsjepa.cli.plan import planned_run
from tsjepa.cli.training import fit_options, lost_process, pick_device

# Where Lightning, torchrun and SLURM tell a process its number; only the first process has none above 0
NUMBERS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")


def follows(options: PretrainOptions) -> bool:
    """Return whether this process belongs to a run on several and is not its first one."""
    several = options.devices * options.nodes > 1
    return several and any(int(os.environ.get(name, "0")) > 0 for name in NUMBERS)


def follow(options: PretrainOptions) -> None:
    """Train with the first process; what stops all of them, that one says."""
    from tsjepa.training import fit_stages
    from tsjepa.training_error import TrainingError

    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        # the folder that must not hold a run is the first process's business, and holds its run by now
        plan, _ = planned_run(options if options.resume else options._replace(overwrite=True))
    if plan.finished == plan.config.train.epochs:
        return
    series = plan.data.train.series
    model = build_model(plan.config, series.n_channels).eval()
    run = fit_options(plan, options, pick_device(options.device), None)
    try:
        fit_stages(model, series, plan.header, run)
    except (KeyboardInterrupt, TrainingError):
        return
    except RuntimeError as error:
        if not lost_process(error):
            raise
