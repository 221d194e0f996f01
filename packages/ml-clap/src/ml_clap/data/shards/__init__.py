"""WebDataset shards: tar files of sounds with their captions, written, indexed and read."""
