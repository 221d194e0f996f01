"""What goes in: manifests, readers of data sets, batches, language enhancement."""
