"""The report page of hands in a real browser: nothing is fetched, every picture loads."""

import pytest

from support.pages import LOOK_HERE, SIZES, Visit

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", SIZES)
def test_the_page_opens_whole_and_fits_its_window(browser, request, tmp_path, size):
    path = tmp_path / "report.html"
    path.write_text(request.getfixturevalue("sound")[1])  # made only where there is a browser
    visit = Visit(browser, path, SIZES[size])
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    loaded = visit.page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(loaded) >= 3 * 8 and all(loaded)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    wider = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth+1)"
    assert visit.page.evaluate(f"{wider}.map(e => e.innerText.slice(0, 40))") == []
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [path.as_uri()]
    box = visit.page.locator(".badge").first.bounding_box()
    assert box is not None and box["y"] < SIZES[size][1]
    if LOOK_HERE:
        visit.page.screenshot(path=f"{LOOK_HERE}/hands-{size}.png", full_page=True)
    visit.page.close()
