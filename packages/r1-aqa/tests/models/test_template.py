"""A prompt of one's own: written as the file says, and refused with file and line where it cannot be."""

from pathlib import Path

import pytest
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt import Prompt
from r1_aqa.models.template import PromptTemplate, letter_of, prompt_of

LETTERED = """{% set system %}You are an expert listener.{% endset %}
{{ question }}
{% for letter, choice in lettered %}
({{ letter }}) {{ choice }}
{% endfor %}
Answer with the letter."""


def read(folder: Path, text: str) -> PromptTemplate:
    (folder / "mine.jinja").write_text(text)
    return PromptTemplate.read(folder / "mine.jinja")


def test_lettered_options_and_a_system_prompt(tmp_path: Path, tiny_audio_llm: AudioLLM) -> None:
    template = read(tmp_path, LETTERED)
    assert template.write("What is heard?", ("rain", "a dog")) == Prompt(
        "What is heard?\n(A) rain\n(B) a dog\nAnswer with the letter.", "You are an expert listener."
    )
    question = Question(
        id="1", audio=Path("a.wav"), question="What is in the video?", choices=("x", "y"), about_video=True
    )
    chat = tiny_audio_llm.format_question(question, "answer", template)
    assert chat.startswith("<|im_start|>system\nYou are an expert listener.<|im_end|>")
    assert "What is in the audio?\n(A) x\n(B) y\nAnswer with the letter.<|im_end|>" in chat
    assert "Output the final answer" not in chat


def test_without_a_template_the_style_counts() -> None:
    question = Question(id="1", audio=Path("a.wav"), question="What?", choices=("x", "y"))
    assert prompt_of(question, "choices").text.endswith("options: ['x', 'y'].")


def test_options_may_be_missing_and_sounds_counted(tmp_path: Path) -> None:
    template = read(
        tmp_path, "{{ num_audios }} {{ question }}{% if choices %} {{ choices|join('/') }}{% endif %}"
    )
    assert template.write("What?", ()).text == "1 What?"
    assert template.write("What?", ("x", "y"), num_audios=2).text == "2 What? x/y"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ question }\n", r"mine\.jinja:1: unexpected '}'"),
        ("a\n{% for x in choices %}\n", r"mine\.jinja:2: Unexpected end of template"),
        (
            "{{ options }}",
            r"mine\.jinja: 'options' is undefined \(known: question, choices, lettered, num_audios",
        ),
        ("{{ question.__class__.__mro__ }}", r"mine\.jinja: access to attribute '__class__'"),
        ("{% include '/etc/passwd' %}", r"mine\.jinja: no loader for this environment"),
        ("{{ 1 / 0 }}", r"mine\.jinja: division by zero"),
        ("{% for i in range(1000000) %}x{% endfor %}", r"mine\.jinja: Range too big"),
        ("  \n", r"mine\.jinja: the template writes nothing"),
        ("<|AUDIO|> {{ question }}", r"mine\.jinja: <\|AUDIO\|> stands for a sound"),
    ],
)
def test_a_template_that_cannot_be_used_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path, text)


def test_letters_go_on_after_z() -> None:
    assert [letter_of(number) for number in (0, 25, 26, 27, 52)] == ["A", "Z", "AA", "AB", "BA"]
