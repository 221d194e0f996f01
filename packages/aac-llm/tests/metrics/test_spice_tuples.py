"""What the rules find in captions of our own; each rule is SPICE's."""

import gzip
from importlib import resources

import pytest
from aac_llm.metrics.spice_tuples import caption_tuples
from aac_llm.metrics.tagger import tag_words
from aac_llm.metrics.wordnet import base_form, synsets


def relations_of(text):
    """Relations and attributes; objects are those of nouns."""
    return {one for one in caption_tuples(text) if len(one) > 1}


def objects_of(text):
    return {one[0] for one in caption_tuples(text) if len(one) == 1}


RULES = {
    "a man is opening a can": {("man", "open", "can")},
    "a woman is smiling": {("woman", "smile")},
    "the engine is loud": {("engine", "loud")},
    "a cat is an animal": {("cat", "animal")},
    "a small grey dog": {("dog", "small"), ("dog", "grey")},
    "a low and steady hum": {("hum", "low"), ("hum", "steady")},
    "two dogs": {("dog", "two")},
    "one dog": set(),
    "a fire alarm": {("alarm", "fire")},
    "a man is walking on gravel": {("man", "walk on", "gravel")},
    "a man is cutting wood with a saw": {("man", "cut", "wood"), ("wood", "with", "saw")},
    "the sound of rain on a roof": {("sound", "of", "rain"), ("rain", "on", "roof")},
    "a bell is in a tower": {("bell", "in", "tower")},
    "a door is being opened": set(),
    "a ball is thrown by a child": {("child", "throw", "ball")},
    "birds chirping": set(),
    "a person singing a song": {("person", "sing", "song")},
    "a woman singing in a hall": {("woman", "sing in", "hall")},
    "a machine is running and then it stops": {("machine", "run"), ("machine", "stop")},
    "a man is clearing his throat": {("man", "clear", "throat"), ("man", "have", "throat")},
    "a man 's dog is running": {("man", "have", "dog"), ("dog", "run")},
    "a lot of dogs are running": {("dog", "a"), ("dog", "run")},
    "there is a dog in the garden": {("dog", "in", "garden")},
    "people are talking while a phone is ringing": {("people", "talk"), ("phone", "ring")},
    "a man and a woman are talking": {("man", "talk"), ("woman", "talk")},
    "someone is opening and closing a drawer": {("someone", "open", "drawer"), ("someone", "close")},
    "a machine that hums is standing": {("machine", "stand")},
    "a tone that is constant": {("that", "constant")},
    "a car is parking next to a house": {("car", "park next to", "house")},
    "people are talking to each other": {("people", "talk")},
    "someone is trying to open a door": {("someone", "try")},
    "buzzing and humming are getting louder": {("buzzing", "get"), ("humming", "get")},
    "loud clanking and banging with music": {("clanking", "loud"), ("banging", "with", "music")},
    "opening and closing a door": set(),
    "the tearing of paper": {("tearing", "of", "paper")},
    "the woman holding keys is running": {("woman", "hold", "key"), ("woman", "run")},
}


@pytest.mark.parametrize(("text", "found"), RULES.items(), ids=list(RULES))
def test_rules_find_attributes_and_relations(text, found):
    assert relations_of(text) == found


def test_every_noun_is_an_object_but_those_before_another():
    assert objects_of("a fire alarm and a dog in a garden") == {"alarm", "dog", "garden"}
    assert objects_of("a lot of dogs") == {"lot", "dog"}
    assert objects_of("it is them") == set()


def test_pronouns_stand_for_a_noun_of_their_number():
    assert ("dog", "it") not in relations_of("dogs bark and it rains")
    assert ("rain", "fall") in relations_of("the rain is falling and it is falling")


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("a dog is barking", "DT NN BE VBG"),
        ("a man speaks and walks away", "DT NN VBZ CC VBZ RB"),
        ("two saws are cutting through wood", "CD NNS BE VBG IN NN"),
        ("rain falls while people talk", "NN VBZ SC NNS VBP"),
        ("the gizmotron is zorbing", "DT NN BE VBG"),
        ("( the door opens . )", "DT NN VBZ"),
    ],
)
def test_words_are_tagged_by_what_stands_around_them(text, tags):
    assert " ".join(token.tag for token in tag_words(text)) == tags


def test_words_have_their_base_forms_and_synsets():
    assert [base_form(word, "n") for word in ("geese", "boxes", "women", "dog")] == [
        "goose",
        "box",
        "woman",
        None,
    ]
    assert [base_form(word, "v") for word in ("ran", "tapping", "tries", "buzzes")] == [
        "run",
        "tap",
        "try",
        "buzz",
    ]
    assert synsets("car") & synsets("automobiles")
    assert not synsets("car") & synsets("dog")
    assert synsets("qwxyz") == frozenset()


def test_the_table_of_words_carries_its_licence():
    packed = resources.files("aac_llm.metrics").joinpath("wordnet.txt.gz").read_bytes()
    head = gzip.decompress(packed).decode()[:3000]
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in head
    assert 'PROVIDED "AS IS"' in head
