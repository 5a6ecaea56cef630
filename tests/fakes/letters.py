"""Letters on one letterhead, with other words in each, and what a scanner makes of them."""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 744, 1052, 84
TEXT = (
    "the and to in that for it was with be by on not he his but at are this have from or had an"
    " they which one you were all her she there would their we him been has when who will no more"
    " about than into them can only other time new some could these two may first then do any like"
    " people government through before should little himself another between"
)
WORDS = TEXT.split()


def letter(seed: int, *, paragraphs: int = 2, words: int = 60) -> Image.Image:
    """Return a letter in grey: head and foot are those of all."""
    chance, font = random.Random(seed), ImageFont.load_default(14)
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((MARGIN, 54, WIDTH - MARGIN, 58), fill=80)
    draw.ellipse((MARGIN, 66, MARGIN + 66, 132), fill=90)
    draw.text((168, 72), "Northern Gardens Society", font=ImageFont.load_default(26), fill=60)
    draw.text((168, 108), "14 Harbour Street - office@gardens.example", font=font, fill=0)
    draw.text((MARGIN, HEIGHT - 63), "Registered charity 1029384", font=font, fill=0)
    down = 174
    for _ in range(paragraphs):
        line = ""
        for _ in range(words):
            word = chance.choice(WORDS)
            if font.getlength(f"{line} {word}") > WIDTH - 2 * MARGIN:
                draw.text((MARGIN, down), line, font=font, fill=0)
                down, line = down + 21, ""
            line = f"{line} {word}".strip()
        draw.text((MARGIN, down), line, font=font, fill=0)
        down += 36
    return image


def scanned(image: Image.Image, seed: int) -> Image.Image:
    """Return a page as a scanner gives it: a little turned and moved, paler and noisy."""
    chance, noise = random.Random(seed), np.random.default_rng(seed)
    moved = image.rotate(
        chance.uniform(-1, 1),
        Image.Resampling.BICUBIC,
        translate=(chance.randint(-5, 5), chance.randint(-5, 5)),
        fillcolor=255,
    )
    levels = np.asarray(moved, np.float32) * chance.uniform(0.88, 0.96) + chance.uniform(2, 12)
    levels = levels + noise.normal(0, 6, levels.shape)
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))
