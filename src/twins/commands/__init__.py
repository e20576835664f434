"""The subcommands of `twins`, a file each: `add_parser` gives one its flags, `run` does it."""

INTERRUPTED = 130  # exit status after Ctrl-C, as in shells
