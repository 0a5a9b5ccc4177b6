"""The teachers' copies run in the newest packages: the whole lesson, with solutions."""

from __future__ import annotations

import re
import sys

import pytest

from tests.support import browser
from tests.support.notebooks import World, exercises, texts
from tests.support.paths import NOTEBOOKS, ROOT, TEACHERS
from tests.support.processes import run

# How high each page is that holds no other pages, and of how many cells.
SLIDES = """[...document.querySelectorAll('.slides section')]
    .filter(one => !one.querySelector('section'))
    .map(one => ({height: one.offsetHeight, cells: one.querySelectorAll('.jp-Cell').length,
                  text: one.innerText.slice(0, 60)}))"""


@pytest.fixture
def text_counts(course_ollama):
    """Whether what the models write has to be right; see tests/support/real_ollama.py."""
    return course_ollama is None or course_ollama.writes_text


@pytest.fixture
def on_embedded(request):
    if request.config.getoption("--ollama"):
        pytest.skip("tested with the embedded engine")


def test_its_solutions_are_right(teachers, newest: World, text_counts):
    cells = newest.run(teachers).cells
    if text_counts:
        printed = [texts(cell) for cell in exercises(newest.run(teachers))]
        assert "".join(printed).count(": right.") == 3, printed
    for cell in cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt) > 40, f"a figure without words: {cell.source}"


def test_no_answer_is_scored_that_its_own_limit_cut(teachers, newest: World):
    """Else a score tells the limit: ask_again=True gives room, and slmlab.score says where not."""
    for cell in newest.run(teachers).cells:
        assert "scored answers were cut by num_predict" not in texts(cell), cell.source


def test_the_course_is_rendered_with_its_outputs(newest: World, on_embedded):
    """One web site of all that was run; a link inside that leads nowhere is an error."""
    for path in TEACHERS:
        newest.run(path)
    run(sys.executable, ROOT / "scripts/build_docs.py", "--executed", newest.folder)
    site = ROOT / "build/course/html"
    for notebook in NOTEBOOKS:
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text()
        assert "cell_output" in page
        assert "Solutions (open after you have tried)" in page
        assert all(re.search(r'alt="[^"]{40}', image) for image in figures(page))
    speed = (site / "notebooks/04_measure_speed.html").read_text()
    assert len(figures(speed)) >= 4
    with browser.chromium() as chromium:
        phone = chromium.new_page(viewport={"width": 390, "height": 800})
        phone.goto((site / "index.html").as_uri())
        phone.locator(".bd-header-article .primary-toggle").click()
        phone.locator("dialog[open] a:has-text('Pruning')").click()
        phone.wait_for_url("**/08_pruning.html")
        phone.locator(".bd-header-article .search-button").click()
        phone.wait_for_selector("#pst-search-dialog[open]")


def test_lessons_become_slides_that_fit_a_page(newest: World, tmp_path, on_embedded):
    """What is on a page with something else is not cut; what is alone there can be scrolled."""
    for path in TEACHERS:
        newest.run(path)
    lessons = [newest.folder / path.name for path in TEACHERS]
    run(sys.executable, ROOT / "scripts/make_slides.py", *lessons, "--to", tmp_path)
    with browser.chromium() as chromium:
        page = chromium.new_page(viewport={"width": 1240, "height": 800})
        page.route("http*://**", lambda request: request.abort())
        for path in TEACHERS:
            page.goto((tmp_path / f"{path.stem}.slides.html").as_uri())
            heights = page.evaluate(SLIDES)
            assert len(heights) >= 9, path.name
            assert not [one for one in heights if one["cells"] > 1 and one["height"] > 880], (
                path.name
            )


def test_no_lesson_asked_another_machine_for_anything(newest: World, on_embedded):
    """Whoever reads or runs the course with the embedded engine and its models is alone."""
    for path in TEACHERS:
        newest.run(path)
    seen = newest.connections()
    assert seen["socket.connect", "127.0.0.1"] > 100
    assert {where for _, where in seen} <= {"127.0.0.1", "localhost", "None"}, seen


def figures(page: str) -> list[str]:
    """The tags of a page's figures."""
    return re.findall(r'<img[^>]+src="[^"]*_images/[^>]+>', page)
