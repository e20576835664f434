"""Networks that `twins export` wrote: what such a file says of itself, and other runtimes than PyTorch to run it."""
