"""Images in tar shards, as WebDataset lays them out: members that share a key are one sample."""
