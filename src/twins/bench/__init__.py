"""Speed and memory of the networks on this machine, beside other ways to run them.

A case is one network at one size and batch. All backends of a case get the same weights, the same images and as many
threads, and take turns in one process. No backend gets a result if its outputs differ from those of our plain network;
int8 of other libraries is the exception: it is timed and marked.

From `plan` (what is measured; needs no PyTorch) over `run` (every case in turn) and `measuring` (one case) to `rows`,
`results_file`, `table` and the two charts.
"""
