"""Auto-ACD: one CSV row a clip of AudioSet or VGGSound, with `youtube_id` and `caption`."""

from __future__ import annotations

from audio_common.files import AudioFolder

from aac_llm.config.prepare import PrepareAutoACDConfig
from aac_llm.data.manifest import Clip
from aac_llm.data.readers.source import Reading, read_rows


def read_autoacd(config: PrepareAutoACDConfig) -> Reading:
    """Read the table; the files may be named with or without a `Y` before the id."""
    files, reading = AudioFolder(config.audio or config.source.parent), Reading()
    for line, row in read_rows(config.source, ("youtube_id", "caption"), reading):
        name, caption = row["youtube_id"], row["caption"]
        if not name or not caption:
            reading.add_problem("row", f"{config.source}:{line}", "youtube_id or caption is empty")
            continue
        try:
            audio = files.find_stem([name, f"Y{name}"])
        except LookupError as e:
            reading.add_problem("missing", f"{config.source}:{line}", e)
            continue
        reading.clips.append(
            Clip(
                id=name,
                audio=audio,
                captions=(caption,),
                split=config.split,
                dataset="auto-acd",
                sound_id=f"youtube:{name.removeprefix('Y')[:11]}",
            )
        )
    return reading
