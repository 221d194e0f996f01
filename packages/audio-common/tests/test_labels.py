from audio_common.labels import AUDIOSET_LABELS


def test_there_is_one_distinct_name_for_each_of_the_527_classes():
    assert len(AUDIOSET_LABELS) == 527
    assert len(set(AUDIOSET_LABELS)) == 527
    assert all(name and name == name.strip() and "_" not in name for name in AUDIOSET_LABELS)


def test_names_stand_at_their_published_indices():
    published = {
        0: "Speech",
        23: "Baby cry, infant cry",
        49: "Sneeze",
        74: "Dog",
        99: "Chicken, rooster",
        131: "Bee, wasp, etc.",
        137: "Music",
        269: "Jingle (music)",
        289: "Rain",
        295: "Waves, surf",
        339: "Helicopter",
        345: "Dental drill, dentist's drill",
        347: "Chainsaw",
        433: "Firecracker",
        500: "Silence",
        513: "Noise",
        526: "Field recording",
    }
    assert {index: AUDIOSET_LABELS[index] for index in published} == published
