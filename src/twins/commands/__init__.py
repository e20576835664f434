"""The subcommands of `twins`, a file each."""
