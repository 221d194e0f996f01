"""The captioning model (CED, bridge, decoder) and the generation of captions."""
