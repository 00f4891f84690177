"""The actions of `voxtral-ops weights`, a file each: SUMMARY, EXAMPLES, `configure(parser)` and `run(args, store)`."""
