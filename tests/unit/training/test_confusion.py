"""The picture of the confusion matrix."""

from xml.etree import ElementTree as ET

from training.confusion import confusion_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_every_pair_has_a_cell_shaded_by_its_share_of_the_row() -> None:
    confusion = {"cat": {"cat": 75, "dog": 25}, "dog": {"dog": 4}}

    drawn = ET.fromstring(confusion_svg(confusion, ["cat", "dog"]))

    cells = [one.attrib["fill"] for one in drawn.findall(f"{SVG}rect")][1:]
    texts = [one.text for one in drawn.findall(f"{SVG}text")]
    assert len(cells) == 4
    assert cells[2] == "rgb(255,255,255)", "nothing was confused there"
    assert cells[3] == "rgb(55,55,255)", "all of the row"
    assert cells[1] == "rgb(255,155,155)", "a quarter of the row"
    assert [text for text in texts if text and text.isdigit()] == ["75", "25", "4"]


def test_names_are_written_as_text_whatever_is_in_them() -> None:
    drawn = confusion_svg({}, ["<b>&"])

    assert "&lt;b&gt;&amp;" in drawn
