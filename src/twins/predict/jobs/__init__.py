"""Prediction of very many images: a plan of numbered shards, written one by one, that can be stopped at any moment.

`records` opens the sources (`file_records`, `tar_records`, `parquet_records`), `plan` is what the job is, and `folder`
tells which of its shards are there. `decoding` makes images ready beside the network, `columns` makes rows of
predictions, `shard_files` writes them, and `running` is the whole on one machine; `ray_cluster` on many.
"""
