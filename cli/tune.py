"""`tsjepa tune-lambda`: a bisection whose steps are short training runs."""

import shlex

from tsjepa.arrays import SeriesSource, counted
from tsjepa.build import configure
from tsjepa.cli.data import check_test_part, say_remarks
from tsjepa.cli.errors import USAGE, Failure, say
from tsjepa.cli.normal_windows import learnt
from tsjepa.cli.options import TuneOptions
from tsjepa.cli.plan import load_run_data, named_data, resolved
from tsjepa.cli.render import count_bar, data_dir_words
from tsjepa.cli.report import TuneReport
from tsjepa.cli.training import pick_device
from tsjepa.config import Config
from tsjepa.evaluation.finite import number
from tsjepa.evaluation.tune import (
    THRESHOLD,
    Trial,
    Tuned,
    TuneError,
    bisect_weight,
    check_search,
    check_tunable,
    try_weight,
)
from tsjepa.training_error import TrainingError

DEFAULT_RECIPE = "ts-jepa-sigreg"
SOUGHT = "regularizer.weight"


def tune_lambda(options: TuneOptions) -> TuneReport:
    """Look for the smallest weight of the regularizer that keeps latents from collapsing."""
    if any(setting.startswith(f"{SOUGHT}=") for setting in options.settings):
        raise Failure(f"{SOUGHT} is what the search looks for: leave it out, and bound it by --low and --high.", USAGE)
    recipe = options.config or DEFAULT_RECIPE
    config = configure(recipe, None, options.overrides())
    check_tunable(config)
    try:
        check_search(options.low, options.high, options.runs)
    except TuneError as error:
        raise Failure(str(error), USAGE) from error
    device, name = pick_device(options.device), named_data(config)
    config = config.model_copy(update={"data": name})
    data = load_run_data(name, config, options)
    config = resolved(config, data)
    try:
        check_test_part(data, config)
    except Failure as error:  # a search asks for no label
        say(f"note: pretrain will need more: {error}")
    say_remarks(data, config, test=False)
    series = learnt(data, config).train.series
    say(summary(options, config, series.n_cases))
    found = search(options, config, series, device)
    if found.weight == options.low:
        say(f"note: the low end, {options.low:g}, prevents a lasting collapse already: search lower with --low.")
    return TuneReport(found.weight, [values(t) for t in found.trials], next_command(options, name, recipe, found))


def next_command(options: TuneOptions, name: str, recipe: str, found: Tuned) -> str:
    """Return the command that pretrains with the weight, at the recipe's length: the runs of a search are short."""
    command = ["tsjepa", "pretrain", "--data", name, "--config", recipe, *data_dir_words(options.data_dir)]
    command += [] if options.seed is None else ["--seed", str(options.seed)]
    command += [word for setting in (*options.logs.overrides(), *options.settings) for word in ("--set", setting)]
    return shlex.join([*command, "--set", f"{SOUGHT}={found.weight:.3g}"])


def summary(options: TuneOptions, config: Config, n_cases: int) -> str:
    """Say what is searched for, and at what cost."""
    return (
        f"bisecting {SOUGHT} between {options.low:g} and {options.high:g} on {n_cases} series of "
        f"{config.data}: up to {counted(options.runs, 'run')} of {counted(config.train.epochs, 'epoch')}, for the "
        f"smallest weight that ends in no lasting collapse and with a SIGReg score below {THRESHOLD}."
    )


def search(options: TuneOptions, config: Config, series: SeriesSource, device: str) -> Tuned:
    """Make the runs, with a bar over all their epochs."""
    epochs, finished = config.train.epochs, 0
    with count_bar("epochs", options.runs * epochs) as report:

        def evaluate(weight: float) -> Trial:
            nonlocal finished
            before = finished
            finished += epochs
            return try_weight(config, series, weight, device, lambda epoch: report(before + epoch))

        try:
            return bisect_weight(evaluate, options.low, options.high, options.runs)
        except (TuneError, TrainingError) as error:
            raise Failure(str(error)) from error


def values(trial: Trial) -> dict[str, object]:
    """Return the JSON object of a run."""
    numbers = {"score": number(trial.score), "verdict": trial.verdict, "loss": number(trial.loss)}
    return {"weight": trial.weight, **numbers, "enough": trial.enough}
