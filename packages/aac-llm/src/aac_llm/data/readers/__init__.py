"""Published data sets to clips, a file for each.

A reader finds each row's sound file and captions. A row that cannot be used becomes a `Problem` and the
others go on; only a source of the wrong form is an error. Whether the sound files are sound is for
`aac_llm.data.prepare` to find out.
"""
