"""What goes in: manifests, readers of data sets, clips that training draws, sounds and captions on disk."""
