"""The other processes of a run on several: they train with the first one, and neither say nor write anything."""

import os
from contextlib import redirect_stderr

from tsjepa.build import build_model
from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.options import PretrainOptions
from tsjepa.cli.plan import planned_run
from tsjepa.cli.training import fit_options, lost_process, pick_device

# Where Lightning, torchrun and SLURM tell a process its number; only the first process has none above 0
NUMBERS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
# What says where the first machine is: torchrun sets the one, and from the other Lightning takes SLURM's machines
MEETING = ("MASTER_ADDR", "SLURM_NTASKS")


def check_nodes(nodes: int) -> None:
    """Refuse several machines that could only wait for each other in vain."""
    if nodes > 1 and not any(name in os.environ for name in MEETING):
        raise Failure(
            f"--nodes {nodes}: the machines do not know of each other: start the command by torchrun or SLURM, or on "
            "each machine with NODE_RANK (its number, the first is 0), MASTER_ADDR (address of the first) and "
            "MASTER_PORT (a free port there) in its environment.",
            USAGE,
        )


def is_other(options: PretrainOptions) -> bool:
    """Return whether this process belongs to a run on several and is not its first one."""
    several = options.devices * options.nodes > 1
    return several and any(int(os.environ.get(name, "0")) > 0 for name in NUMBERS)


def train_along(options: PretrainOptions) -> None:
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
