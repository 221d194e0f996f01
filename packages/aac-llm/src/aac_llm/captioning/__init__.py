"""Captioning files, folders and manifests with a finished model."""
