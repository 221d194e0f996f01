import json

import pytest
from aac_llm.captioning.segments import group_by_sound, merge_equal
from aac_llm.captioning.subtitles import to_audacity, to_label_studio, to_srt, to_vtt, write_subtitles
from aac_llm.data.predictions import Candidate, CaptionPart, Prediction
from aac_llm.data.timestamps import TimedEvent


def part(id, start, end, caption):
    return Prediction(id, f"{id}.wav", caption, (Candidate(caption, -1.0),), start=start, end=end)


def test_neighbours_of_one_caption_are_merged():
    merged = merge_equal(
        [
            part("a", 0, 10, "rain"),
            part("a", 10, 20, "rain"),
            part("a", 20, 30, "wind"),
            part("a", 30, 34, "rain"),
        ]
    )
    assert [(prediction.start, prediction.end, prediction.caption) for prediction in merged] == [
        (0, 20, "rain"),
        (20, 30, "wind"),
        (30, 34, "rain"),
    ]


def test_parts_of_other_sounds_and_parts_with_a_gap_are_not_merged():
    parts = [part("a", 0, 10, "rain"), part("b", 10, 20, "rain"), part("b", 25, 30, "rain")]
    assert merge_equal(parts) == parts


def test_merging_merged_parts_changes_nothing():
    once = merge_equal([part("a", n, n + 1, "rain" if n % 3 else "wind") for n in range(12)])
    assert merge_equal(once) == once


def test_subtitles_have_their_formats_times_and_escapes():
    parts = [part("a", 0.0, 9.9996, "rain\n\nfalls"), part("a", 3661.25, 3662.0, "a <b> & c")]
    assert to_srt(parts) == (
        "1\n00:00:00,000 --> 00:00:10,000\nrain falls\n\n2\n01:01:01,250 --> 01:01:02,000\na <b> & c\n"
    )
    assert to_vtt(parts) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nrain falls\n\n"
        "01:01:01.250 --> 01:01:02.000\na &lt;b&gt; &amp; c\n"
    )


def test_a_caption_without_times_makes_no_subtitle():
    with pytest.raises(ValueError, match="'a' has none: caption with --segments"):
        to_srt([Prediction("a", None, "rain")])


def test_parts_are_grouped_by_sound_and_sorted():
    groups = group_by_sound([part("b", 10, 20, "x"), part("a", 0, 10, "y"), part("b", 0, 10, "z")])
    assert [[prediction.caption for prediction in group] for group in groups] == [["z", "x"], ["y"]]


def test_events_make_the_cues_and_overlapping_windows_name_them_once():
    rain = TimedEvent("rain falls", 6.0, 10.0), TimedEvent("rain falls", 8.0, 12.5)
    parts = [
        Prediction("a", None, "rain falls", timestamps=rain[:1], start=0.0, end=10.0),
        Prediction("a", None, "rain falls", timestamps=rain[1:], start=8.0, end=18.0),
    ]
    assert to_audacity(parts) == "6.000000\t12.500000\train falls\n"
    (merged,) = merge_equal(parts)
    assert (merged.end, merged.timestamps) == (18.0, (TimedEvent("rain falls", 6.0, 12.5),))


def test_the_windows_of_a_long_sound_make_the_cues_where_there_are_no_events():
    heard = (CaptionPart(0.0, 10.0, "rain"), CaptionPart(8.0, 18.0, "a\twind"))
    text = to_audacity([Prediction("a", None, "rain; a wind", parts=heard)])
    assert text == "0.000000\t10.000000\train\n8.000000\t18.000000\ta wind\n"


def test_neighbours_that_differ_by_punctuation_are_merged():
    assert len(merge_equal([part("a", 0, 10, "Rain falls."), part("a", 10, 20, "rain falls")])) == 1


def test_label_studio_gets_a_task_with_a_region_for_each_caption(tmp_path):
    parts = [
        Prediction("a b.wav", "/data/a b.wav", "rain <falls>", start=0.0, end=6.0),
        Prediction("a b.wav", "/data/a b.wav", "wind", start=6.0, end=12.5),
        Prediction("quiet.wav", "quiet.wav", "no sound", start=0.0, end=1.0),
    ]
    write_subtitles(parts, tmp_path, "label_studio")
    (task,) = json.loads((tmp_path / "a b.wav.json").read_text())
    assert task["data"] == {"audio": "/data/local-files/?d=data/a%20b.wav"}
    (prediction,) = task["predictions"]
    regions = {}
    for item in prediction["result"]:
        assert item["to_name"] == "audio"
        regions.setdefault(item["id"], {})[item["type"]] = item
    assert [
        (r["labels"]["value"]["start"], r["textarea"]["value"]["end"], r["textarea"]["value"]["text"])
        for r in regions.values()
    ] == [(0.0, 6.0, ["rain <falls>"]), (6.0, 12.5, ["wind"])]
    (silent,) = json.loads((tmp_path / "quiet.wav.json").read_text())
    assert silent["predictions"][0]["result"] == []
    assert json.loads(to_label_studio([], "x.wav"))[0]["data"]["audio"].endswith("?d=x.wav")
