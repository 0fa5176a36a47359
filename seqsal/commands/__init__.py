"""What the verbs of the command line do, a module a verb: arguments as files and options, results written to files.

`seqsal VERB` is read by `seqsal/cli/VERB.py`, which calls the function of `seqsal/commands/VERB.py`. The verbs that are
not here have modules of their own: `run` :mod:`seqsal.pipeline.run`, `demo` :mod:`seqsal.pipeline.demo`, `info`
:mod:`seqsal.pipeline.info`.
"""
