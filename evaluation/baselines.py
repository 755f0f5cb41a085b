"""The commands of KEMP, CEM and CASE: `launch.py --config=configs/baselines.py:cem [--mode=reply --input=test --output=…]`."""

from __future__ import annotations

from pathlib import Path

from absl.flags import FlagValues
from ml_collections import ConfigDict, config_flags

from data_pipeline import text_baselines as dialogues
from data_pipeline.layout import SPLITS, Tree
from empatheia_jax import settings
from empatheia_jax.baselines import replies
from empatheia_jax.baselines.settings import BaselineTraining
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.distributed import among_hosts, on_first_host
from empatheia_jax.requirements import writable
from empatheia_jax.runs.run import Run
from empatheia_jax.training import text_baselines


def of_flags(given: FlagValues, config: BaselineTraining, workdir: Path) -> int:
    """Trains a text baseline, or lets it answer a split or a file of dialogues in text.

    Replies take the settings of the trained run, with what the command line changes of them.

    Raises:
      UserError: another mode, or as `text_baselines.run` and `replies.run`.
    """
    if given.mode == "train":
        writable(workdir, "--workdir")
        return among_hosts(lambda: text_baselines.run(config, workdir, dialogues.open_dialogues))
    if given.mode != "reply" or given.input is None or given.output is None:
        raise UserError(f"{config.name} trains (no --mode), or answers: --mode=reply --input=test --output=folder")
    run = Run(workdir)
    if run.config_path.is_file():
        values = ConfigDict(run.config())
        values.update_from_flattened_dict(config_flags.get_override_values(given["config"]))
        config = settings.read(BaselineTraining, values)
    split = given.input in SPLITS and not Path(given.input).exists()
    source = Tree(config.data).split_file(given.input) if split else Path(given.input)
    output = writable(given.output, "--output")
    return on_first_host(lambda: replies.run(config, workdir, source, output, given.limit))
