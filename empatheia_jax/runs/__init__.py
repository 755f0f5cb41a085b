"""A run's folder, as everything else reads it: dialogue, evaluation, export, and the training that goes on in it.

config.json                  the config of the run, as resolved
environment.json             what its newest start ran on
checkpoints/<stage>/<step>/  what a stage has trained, and the state to go on from
metrics/metrics.jsonl        the numbers of the training, one line per logged step
samples/                     replies of the trained model
report.html                  all of that as one page
"""
