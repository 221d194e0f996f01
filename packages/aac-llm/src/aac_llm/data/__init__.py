"""What goes in: manifests, readers of published data sets, the clips that training draws."""
