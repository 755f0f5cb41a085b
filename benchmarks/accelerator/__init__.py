"""One command that measures this package on an accelerator: see `__main__`.

`rows` says what is measured and for how long, `run` starts the workers and writes the results, `worker` is the process of one
side (`ours`, `pytorch`), `sizes` the networks, `timing` the clock and the roofs. The rows themselves are in `checks`,
`language`, `media` and `theirs`.
"""
