"""The labels that an archive starts with.

Concrete labels use the default prompt templates. CLIP does not know from "a photo of Victory Day"
what such pictures show, so the prompts of abstract labels describe it. The label's name stays in
each prompt, because a model with a small text tower recognises little but that word.
"""

from core.tags import Label

DEFAULT_LABELS: tuple[Label, ...] = (
    Label("cat", aliases=("кошка", "кот", "котёнок")),
    Label("dog", aliases=("собака", "пёс", "щенок")),
    Label("car", aliases=("машина", "автомобиль")),
    Label("landscape", aliases=("пейзаж",)),
    Label(
        "party",
        aliases=("вечеринка",),
        templates=(
            "a photo of a {}",
            "a photo of people at a {}, dancing and drinking",
            "a photo of friends at a birthday {} with balloons and a cake",
        ),
    ),
    Label("food", aliases=("еда",)),
    Label("beach", aliases=("пляж",)),
    Label("city", aliases=("город",)),
    Label(
        "children",
        aliases=("дети", "ребёнок"),
        templates=("a photo of {}", "a photo of {} playing", "a portrait of {}, boys and girls"),
    ),
    Label(
        "sport",
        aliases=("спорт",),
        templates=(
            "a photo of {}",
            "a photo of athletes doing {}",
            "a photo of a {} match in a stadium",
        ),
    ),
    Label(
        "Victory Day",
        aliases=("День Победы", "9 мая"),
        templates=(
            "a photo of the {} parade",
            "a photo of {}, people with Saint George ribbons and red carnations",
            "a photo of {}, fireworks and red flags on the ninth of May",
        ),
    ),
    Label(
        "veterans",
        aliases=("ветераны",),
        templates=(
            "a photo of {}",
            "a photo of war {}, elderly people wearing medals",
            "a photo of old {} in uniform with orders on the chest",
        ),
    ),
    Label(
        "celebration",
        aliases=("празднование", "праздник"),
        templates=(
            "a photo of a {}",
            "a photo of a {}, people cheering with confetti",
            "a photo of a festive {} with fireworks",
        ),
    ),
    Label(
        "military",
        aliases=("военные", "армия"),
        templates=(
            "a {} photo",
            "a photo of {} soldiers in uniform",
            "a photo of {} vehicles and tanks",
        ),
    ),
)
