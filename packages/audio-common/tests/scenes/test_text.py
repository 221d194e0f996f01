"""Captions name every event in order, in every language; questions have one right answer."""

import itertools
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from audio_common.scenes.scene import KINDS, Event, Scene, random_scene
from audio_common.scenes.text import (
    HELD_OUT_VARIANT,
    LANGUAGES,
    NUM_VARIANTS,
    TRAINING_VARIANTS,
    Question,
    caption,
    label,
    questions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

VARIANTS = range(NUM_VARIANTS)
NORMAL, LOUD, QUIET = -7.0, 0.0, -16.0
SEEDS = st.integers(0, 2**31)
some_examples = settings(max_examples=50, deadline=None)

# Of every kind, in the order of KINDS, what each phrase about it contains and no phrase about another kind.
WORDS = {
    "eng_Latn": r"alarm applau|audience bell bird clock dog engine|motor "
    r"footsteps|gravel knock|\brap \brain siren thunder whistl wind\b",
    "fra_Latn": r"alarme applaud cloche oiseau horloge|pendule chien moteur "
    r"\bpas\b|gravier frapp|toqu pluie sirène tonnerre siffl \bvent\b",
    "deu_Latn": r"alarm leute|publikum glocke vogel uhr hund motor "
    r"schritte|kies tür regen sirene donner pfeif wind",
    "spa_Latn": r"alarma aplaud campana pájaro reloj perro motor "
    r"pasos|grava puerta lluvia sirena trueno silba viento",
    "nld_Latn": r"alarm klappen|publiek kerkklok|\bbel\b vogel \bklok|wandklok hond motor "
    r"voetstappen|grind deur regen sirene donder|onweer fluit wind\b",
    "cat_Latn": r"alarma aplaud campana ocell rellotge gos\b motor "
    r"passes|grava porta pluja sirena \btro\b xiul vent\b",
    "jpn_Jpan": r"アラーム|警報 拍手|手を叩 鐘 鳥 時計 犬 エンジン|モーター "
    r"足音|砂利 ドア 雨 サイレン 雷 口笛 風",
    "zho_Hans": r"警报 鼓掌|掌声 教堂 鸟 时钟 狗 发动机 "
    r"走路|脚步 敲门 雨 警笛 雷 口哨 风",
}


def mentioned(text: str, language: str) -> tuple[str, ...]:
    """The kinds that a caption names, in the order in which it first names them."""
    places = {}
    for kind, pattern in zip(KINDS, WORDS[language].split(" "), strict=True):
        if match := re.search(pattern, text, re.IGNORECASE):
            places[kind] = match.start()
    return tuple(sorted(places, key=places.__getitem__))


def normalised(text: str) -> str:
    return re.sub(r"[^\w\s]", "", text.lower())


def one(kind: str, gain_db: float = NORMAL) -> Scene:
    return Scene(events=(Event(kind=kind, onset=0.2, duration=1.0, gain_db=gain_db),), seconds=2.0)


def successive(*kinds: str) -> Scene:
    events = tuple(Event(kind=kind, onset=2.0 * i, duration=1.0) for i, kind in enumerate(kinds))
    return Scene(events=events, seconds=2.0 * len(kinds))


def together(first: str, second: str, *after: str) -> Scene:
    events = [Event(kind=first, onset=0.0, duration=1.5), Event(kind=second, onset=0.5, duration=1.0)]
    events += [Event(kind=kind, onset=2.0 + 2 * i, duration=1.0) for i, kind in enumerate(after)]
    return Scene(events=tuple(events), seconds=2.0 + 2 * len(after))


# ------------------------------------------------------------------------------------------ captions


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_caption_of_one_event_is_its_own(language: str) -> None:
    captions = [normalised(caption(one(kind), language, variant=v)) for kind in KINDS for v in VARIANTS]
    assert all(captions)
    assert len(set(captions)) == len(KINDS) * NUM_VARIANTS
    assert len({label(kind, language) for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_of_pairs_name_both_in_order_and_differ_by_relation(language: str) -> None:
    for a, b in itertools.permutations(KINDS, 2):
        captions = []
        for variant in VARIANTS:
            for scene in (successive(a, b), together(a, b)):
                text = caption(scene, language, variant=variant)
                assert mentioned(text, language) == (a, b), text
                captions.append(normalised(text))
        assert len(set(captions)) == len(captions)


@pytest.mark.parametrize("language", LANGUAGES)
@some_examples
@given(seed=SEEDS, num_events=st.integers(1, 5), variant=st.sampled_from(VARIANTS))
def test_captions_of_random_scenes_name_every_event_in_order(
    language: str, seed: int, num_events: int, variant: int
) -> None:
    scene = random_scene(seed, num_events=num_events)
    text = caption(scene, language, variant=variant)
    assert mentioned(text, language) == scene.kinds, text
    assert "{" not in text
    assert "|" not in text
    assert "  " not in text
    if language.endswith("_Latn"):
        assert text.endswith(".")
        assert text[0].isupper()
    else:
        assert text.endswith("。")
        assert " " not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_say_what_is_loud_and_what_is_quiet(language: str) -> None:
    for kind, variant in itertools.product(KINDS, VARIANTS):
        texts = [caption(one(kind, gain), language, variant=variant) for gain in (NORMAL, LOUD, QUIET)]
        assert len(set(texts)) == 3, texts
        assert all(mentioned(text, language) == (kind,) for text in texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_sentences_are_in_no_training_variant(language: str) -> None:
    """The held-out frame of a sentence, the words of its event taken away, is used by no other variant."""
    for make in (one, lambda kind: together(kind, "wind"), lambda kind: successive(kind, "wind")):
        prefixes = {
            variant: common_start([caption(make(kind), language, variant=variant) for kind in KINDS[:-1]])
            for variant in VARIANTS
        }
        suffixes = {
            variant: common_start(
                [caption(make(kind), language, variant=variant)[::-1] for kind in KINDS[:-1]]
            )
            for variant in VARIANTS
        }
        frames = {variant: (prefixes[variant], suffixes[variant]) for variant in VARIANTS}
        assert frames[HELD_OUT_VARIANT] not in [frames[variant] for variant in TRAINING_VARIANTS]
    assert HELD_OUT_VARIANT not in TRAINING_VARIANTS
    assert len(TRAINING_VARIANTS) >= 4


def common_start(texts: list[str]) -> str:
    return "".join(c[0] for c in itertools.takewhile(lambda c: len(set(c)) == 1, zip(*texts, strict=False)))


def loud_dog_then_door() -> Scene:
    dog = Event(kind="dog", onset=0.0, duration=1.0, gain_db=LOUD)
    return Scene(events=(dog, Event(kind="knock", onset=2.0, duration=1.0, gain_db=QUIET)), seconds=3.0)


def test_adverbs_and_complements_stand_where_the_language_wants_them() -> None:
    assert (
        caption(loud_dog_then_door(), "eng_Latn")
        == "A dog barks loudly, then someone knocks quietly on a door."
    )
    assert caption(loud_dog_then_door(), "fra_Latn", variant=3) == (
        "On entend un chien aboyer fort, puis quelqu'un frapper doucement à la porte."
    )
    assert caption(loud_dog_then_door(), "spa_Latn") == (
        "Un perro ladra con fuerza, luego alguien llama suavemente a la puerta."
    )
    assert caption(loud_dog_then_door(), "cat_Latn", variant=3) == (
        "Se sent com borda fort un gos, i després com algú truca fluix a la porta."
    )
    assert (
        caption(loud_dog_then_door(), "jpn_Jpan")
        == "犬が大きな声で吠えた後、誰かが小さな音でドアをノックする。"
    )
    assert caption(loud_dog_then_door(), "zho_Hans") == "一只狗在大声地叫，然后有人在轻轻地敲门。"


def test_german_and_dutch_verbs_follow_the_connector() -> None:
    assert (
        caption(loud_dog_then_door(), "deu_Latn")
        == "Ein Hund bellt laut, dann klopft jemand leise an die Tür."
    )
    assert caption(loud_dog_then_door(), "deu_Latn", variant=3) == (
        "Man hört erst einen Hund laut bellen, dann jemanden leise an die Tür klopfen."
    )
    assert (
        caption(together("dog", "knock"), "deu_Latn") == "Ein Hund bellt, während jemand an die Tür klopft."
    )
    assert caption(together("rain", "bell"), "deu_Latn", variant=2) == (
        "Während Regentropfen auf den Boden fallen, schlägt eine Kirchenglocke."
    )
    assert caption(loud_dog_then_door(), "nld_Latn") == (
        "Een hond blaft hard, daarna klopt er iemand zacht op de deur."
    )
    assert caption(together("dog", "knock"), "nld_Latn") == "Een hond blaft terwijl iemand op de deur klopt."


def test_french_que_is_elided_before_a_vowel_only() -> None:
    assert caption(together("rain", "dog"), "fra_Latn") == "La pluie tombe pendant qu'un chien aboie."
    assert caption(together("dog", "rain"), "fra_Latn") == "Un chien aboie pendant que la pluie tombe."
    assert caption(together("siren", "rain"), "fra_Latn", variant=2).startswith("Pendant qu'une sirène")


def test_groups_and_single_events_mix_in_one_caption() -> None:
    scene = together("rain", "dog", "bell")
    assert caption(scene, "eng_Latn") == "Rain falls while a dog barks, then a bell rings."
    assert caption(scene, "jpn_Jpan") == "雨が降っている間に犬が吠えた後、鐘が鳴る。"
    assert caption(successive("wind", "dog", "bell"), "deu_Latn", variant=1) == (
        "Zuerst rauscht der Wind, danach kläfft ein Hund, zuletzt schlägt eine Kirchenglocke."
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: caption(one("dog"), "English"), "eng_Latn"),
        (lambda: caption(one("dog"), "eng_Latn", variant=NUM_VARIANTS), "variant"),
        (lambda: label("dgo"), "unknown kind"),
        (lambda: label("dog", "xx"), "no captions in language 'xx'"),
    ],
)
def test_unknown_languages_variants_and_kinds_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_three_events_at_once_are_refused() -> None:
    events = tuple(Event(kind=kind, onset=0.0, duration=1.0) for kind in ("dog", "bell", "rain"))
    with pytest.raises(ValueError, match="three or more"):
        caption(Scene(events=events, seconds=1.0), "eng_Latn")


# ------------------------------------------------------------------------------------------ questions

KIND_OF_LABEL = {label(kind): kind for kind in KINDS}


def is_right(question: Question, choice: str, scene: Scene) -> bool:
    """Whether a choice answers the question, worked out from a time line in steps of 1 ms."""
    if question.kind == "count":
        return int(choice) == len({event.kind for event in scene.events})
    time = np.arange(0, scene.seconds, 0.001)
    sounding = {
        kind: np.any(
            [(time >= e.onset) & (time < e.onset + e.duration) for e in scene.events if e.kind == kind],
            axis=0,
        )
        for kind in {event.kind for event in scene.events}
    }
    kind = KIND_OF_LABEL[choice]
    if kind not in sounding:
        return False
    if question.kind == "first":
        return sounding[kind].argmax() == min(heard.argmax() for heard in sounding.values())
    if question.kind == "loudest":
        return kind == max(scene.events, key=lambda event: event.gain_db).kind
    if question.kind == "overlap":
        other = KIND_OF_LABEL[question.text.removeprefix("Which sound is heard at the same time as ")[:-1]]
        return kind != other and bool(np.any(sounding[kind] & sounding[other]))
    return True


@some_examples
@given(seed=SEEDS, num_events=st.integers(1, 5))
def test_every_question_has_exactly_one_right_choice(seed: int, num_events: int) -> None:
    scene = random_scene(seed, num_events=num_events)
    asked = questions(scene, seed)
    assert {"presence", "count"} <= {question.kind for question in asked}
    for question in asked:
        assert len(set(question.choices)) == 4
        right = [is_right(question, choice, scene) for choice in question.choices]
        assert right.index(True) == question.answer, question
        assert sum(right) == 1, question


def test_answers_stand_at_every_place_equally_often() -> None:
    asked = [q for seed in range(500) for q in questions(random_scene(seed), seed)]
    for kind in ("presence", "first", "count", "loudest", "overlap"):
        places = Counter(question.answer for question in asked if question.kind == kind)
        number = sum(places.values())
        assert number > 100
        # Four standard deviations of a binomial of probability 1/4.
        assert all(abs(places[i] - number / 4) < 4 * (number * 3 / 16) ** 0.5 for i in range(4)), (
            kind,
            places,
        )


def test_wrong_choices_are_absent_sounds_or_the_scene_s_own() -> None:
    scene = successive("dog", "bell")
    by_kind = {question.kind: question for question in questions(scene, 0)}
    presence = {KIND_OF_LABEL[choice] for choice in by_kind["presence"].choices}
    assert len(presence & {"dog", "bell"}) == 1
    assert {"dog", "bell"} <= {KIND_OF_LABEL[choice] for choice in by_kind["first"].choices}
    assert questions(scene, 0) == questions(scene, 0)


def test_doubtful_questions_are_not_asked() -> None:
    level = Scene(
        events=(
            Event(kind="dog", onset=0.0, duration=2.0, gain_db=-6.0),
            Event(kind="bell", onset=0.1, duration=2.0, gain_db=-3.0),
        ),
        seconds=3.0,
    )
    assert {question.kind for question in questions(level, 0)} == {"presence", "count", "overlap"}
    assert {question.kind for question in questions(one("dog"), 0)} == {"presence", "count"}
    every_kind = successive(*KINDS)
    assert "presence" not in {question.kind for question in questions(every_kind, 0)}
