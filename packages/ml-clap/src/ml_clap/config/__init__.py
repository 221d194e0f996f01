"""Every setting of every command, a file for each verb; standard library and `audio_common.config` only.

A dataclass's fields are a command's flags and a YAML file's keys. Impossible values are refused on
construction, with the flag's name. Nothing here imports torch, so `--help` is quick.
"""
